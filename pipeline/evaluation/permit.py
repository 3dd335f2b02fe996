"""The seal of the test part: a permit exists only while its log is held, every look leaves a line in it."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import SealError
from pipeline.paths import Paths


class Permit:
    """Leave to score the test part, in force inside `unsealing` only."""

    def __init__(self, paths: Paths) -> None:
        self._log = paths.unseal_log
        self.in_force = False

    @property
    def looks(self) -> int:
        """Recorded looks so far."""
        return len(self._log.read_text(encoding="utf-8").splitlines())

    def record(self, entry: Mapping[str, Any]) -> None:
        """Append one line to the log and see it on the disk; the permit ends with it.

        Raises:
            SealError: the permit is not in force.
        """
        if not self.in_force:
            raise SealError("a look at the test part must be recorded while its permit is in force: "
                            "it is not; run `kumulus unseal`")
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry, sort_keys=True, allow_nan=False) + "\n")
            log.flush()
            os.fsync(log.fileno())
        self.in_force = False


@contextmanager
def unsealing(paths: Paths) -> Iterator[Permit]:
    """Hold the log's lock and yield a permit.

    Raises:
        SealError: another unsealing holds the lock, or the log cannot be written.
    """
    lock_file = paths.journal.parent / "unseal.lock"
    lock = FileLock(lock_file, timeout=0)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        paths.unseal_log.open("a", encoding="utf-8").close()
    except Timeout as error:
        raise SealError(f"one unsealing must end before the next: {lock_file.name} is held by another "
                        "process; wait for it") from error
    except OSError as error:
        lock.release()
        raise SealError(f"the unsealing log {paths.unseal_log.name} must be writable: {error.strerror}; "
                        "mend that first, because a look must be recorded") from error
    permit = Permit(paths)
    permit.in_force = True
    try:
        yield permit
    finally:
        permit.in_force = False
        lock.release()
