"""Bytes of files that tests look at and damage, independent of how the library reads them."""

import hashlib
import os
from pathlib import Path


def sha256(path: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip(path: Path, at: int | None = None) -> None:
    """Change one bit of a file, the middle byte's unless told otherwise; its times and its other names stay."""
    data, state = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2 if at is None else at] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
