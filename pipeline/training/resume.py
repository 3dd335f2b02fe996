"""Exact resume: the state of a training, kept under a fingerprint of everything that decides the result.

A training that was killed finds its state again if and only if it would repeat the same training; any change of data,
code, parameters or machine gives another fingerprint and a fresh start.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from pipeline.errors import ModelError
from pipeline.paths import staged_file


@dataclass(frozen=True)
class ResumeStore:
    """The state of one training. `key` names the training and survives a kill."""

    folder: Path
    key: str

    def load(self) -> dict[str, Any] | None:
        """The last state saved, or None at the start."""
        file = self.folder / "state.pt"
        return torch.load(file, map_location="cpu", weights_only=True) if file.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state (written aside and renamed)."""
        with staged_file(self.folder / "state.pt") as partial:
            torch.save(state, partial)


@contextmanager
def open_resume(root: Path, fingerprint: str, primary: bool = True) -> Iterator[ResumeStore]:
    """Lock and open the state of a fingerprint; it is deleted when the block ends well and kept when it does not.

    Only the `primary` process of a data-parallel training locks and deletes; the others read beside it.

    Raises:
        ModelError: another process is in the same training.
    """
    folder = root / fingerprint
    if not primary:
        yield ResumeStore(folder, "")
        return
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f"{fingerprint}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ModelError(f"one training at a time may use the resume state {folder.name}: another process holds it; "
                         "wait for it to end") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key_file = folder / "key"
        if not key_file.exists():
            with staged_file(key_file) as partial:
                partial.write_text(uuid.uuid4().hex, encoding="utf-8")
        yield ResumeStore(folder, key_file.read_text(encoding="utf-8"))
        shutil.rmtree(folder)
    finally:
        lock.release()
