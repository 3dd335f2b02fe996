"""What interrupted downloads leave for the next run, and how a failed request is repeated.

The folder is neither tracked by git nor declared to DVC, lies at the real repository (so that it survives the copies of
`dvc exp run --temp`) and is deleted once the acquisition has succeeded.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from pipeline.digests import canonical_sha256
from pipeline.errors import SceneError
from pipeline.params.acquire_remote import Retrying

R = TypeVar("R")


@contextmanager
def kept_downloads(root: Path, request: object) -> Iterator[Path]:
    """Lock and yield the folder of a request; it is deleted when the block ends well and kept when it does not.

    Args:
        root: the folder of all requests.
        request: plain data that decides what is downloaded; equal requests share a folder.

    Raises:
        SceneError: another process downloads the same.
    """
    digest = canonical_sha256(request)[:16]
    folder = root / digest
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f"{digest}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise SceneError(f"one process at a time may download request {digest}: another one does so now; "
                         "wait for it to end") from error
    try:
        yield folder
        shutil.rmtree(folder)
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held; a lock of an unlinked file is none to filelock
    finally:
        lock.release()


def repeat(action: Callable[[], R], again: Callable[[Exception], bool], errors: tuple[type[Exception], ...],
           retry: Retrying) -> R:
    """The result of `action`, called up to 1 + retry.times times with waits of wait_s, 2 wait_s, 4 wait_s, ...

    Args:
        action: what may fail.
        again: whether an error may pass; what it refuses is raised at once.
        errors: classes of errors that are asked about.
        retry: how often and how long.
    """
    for turn in range(retry.times):
        try:
            return action()
        except errors as error:
            if not again(error):
                raise
            time.sleep(retry.wait_s * 2**turn)
    return action()


def read_json(path: Path) -> dict[str, Any] | None:
    """What an earlier run noted in a file, None where it did not come to that."""
    if not path.exists():
        return None
    noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return noted
