"""md5 and sha256 of many files, each byte read once, on all cores: hashlib lets other threads run while it computes.

Two names of one file (hard links, as DVC makes them between workspace and cache) are one reading. Neither modification
times nor any digest computed before are made use of.
"""

import hashlib
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

from pipeline.cores import available_cores

#: What says that there is no such file, rather than that this user cannot read it.
_NOT_THERE = (FileNotFoundError, NotADirectoryError)

_PIECE = 1 << 20
#: From here on a file's two digests are computed at the same time, so that one large scene does not keep one core.
_LARGE = 32 << 20


@dataclass(frozen=True)
class Digests:
    """Of one file's bytes, hexadecimal; `problem` says why it could not be read ("" where it could)."""

    md5: str
    sha256: str
    size: int
    problem: str = ""


def hash_files(paths: Iterable[Path], progress: bool = True) -> Mapping[Path, Digests]:
    """The digests of those paths that are files; what is none, or has gone meanwhile, is left out.

    Args:
        paths: files, links to files, or neither.
        progress: show a bar where there is a terminal.
    """
    names: dict[tuple[int, int], list[Path]] = {}
    sizes: dict[tuple[int, int], int] = {}
    unread: dict[Path, Digests] = {}
    for path in dict.fromkeys(paths):
        try:
            state = path.stat()
        except _NOT_THERE:
            continue
        except OSError as error:
            unread[path] = _unread(error)
            continue
        if stat.S_ISREG(state.st_mode):
            names.setdefault((state.st_dev, state.st_ino), []).append(path)
            sizes[state.st_dev, state.st_ino] = state.st_size
    order = sorted(names, key=lambda inode: -sizes[inode])
    total, quiet = sum(sizes.values()), None if progress else True
    with (closing(tqdm(total=total, desc="hashing", unit="B", unit_scale=True, disable=quiet)) as bar,
          ThreadPoolExecutor(_threads()) as pool):
        steps = _Steps(bar)
        digests = pool.map(lambda inode: _hash(names[inode][0], sizes[inode], steps), order)
        found = zip(order, digests, strict=True)
        return unread | {path: digest for inode, digest in found if digest is not None for path in names[inode]}


def may_be_file(path: Path) -> bool:
    """Whether there is a file, or something of which this user cannot tell: reading it says why."""
    return _may_be(stat.S_ISREG, path)


def may_be_folder(path: Path) -> bool:
    """Whether there is a folder, or something of which this user cannot tell."""
    return _may_be(stat.S_ISDIR, path)


def _may_be(kind: Callable[[int], bool], path: Path) -> bool:
    try:
        return kind(path.stat().st_mode)
    except _NOT_THERE:
        return False
    except OSError:
        return True


def hash_stream(stream: IO[bytes]) -> Digests:
    """The digests of what a stream gives until its end."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    while piece := stream.read(_PIECE):
        md5.update(piece)
        sha256.update(piece)
        size += len(piece)
    return Digests(md5.hexdigest(), sha256.hexdigest(), size)


class _Steps:
    """A progress bar that many threads may move."""

    def __init__(self, bar: "tqdm[None]") -> None:
        self._bar, self._lock = bar, threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)


def _hash(path: Path, size: int, steps: _Steps) -> Digests | None:
    try:
        with path.open("rb", buffering=0) as file:
            return _in_two(file, steps) if size >= _LARGE else _in_turn(file, steps)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _unread(error)


def _unread(error: OSError) -> Digests:
    return Digests("", "", 0, f"{type(error).__name__}: {error.strerror or error}")


def _in_turn(file: IO[bytes], steps: _Steps) -> Digests:
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        md5.update(buffer[:count])
        sha256.update(buffer[:count])
        size += count
        steps(count)
    return Digests(md5.hexdigest(), sha256.hexdigest(), size)


def _in_two(file: IO[bytes], steps: _Steps) -> Digests:
    """md5 on a thread of its own, one piece behind; a buffer is filled again when both have read it."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    buffers = [memoryview(bytearray(4 * _PIECE)) for _ in range(2)]
    behind: Future[None] | None = None
    with ThreadPoolExecutor(1) as other:
        while count := file.readinto(buffers[0]):  # type: ignore[attr-defined]
            piece = buffers[0][:count]
            now = other.submit(md5.update, piece)
            sha256.update(piece)
            if behind is not None:
                behind.result()
            behind, size = now, size + count
            buffers.reverse()
            steps(count)
    return Digests(md5.hexdigest(), sha256.hexdigest(), size)


def _threads() -> int:
    return min(16, available_cores())
