"""Waiting that ends: a test whose condition never comes fails after a minute instead of hanging."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_DEADLINE_S = 60.0
_PATIENCE_S = 30.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; the test fails where it has not come within a minute."""
    end = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {_DEADLINE_S:.0f} s in vain until {what}")
        time.sleep(0.05)


@contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C in the block as soon as a condition comes, or after a minute without it; never once the block is over."""
    over, claim = threading.Event(), threading.Lock()

    def interrupt() -> None:
        end = time.monotonic() + _DEADLINE_S
        while not condition() and time.monotonic() < end:
            if over.wait(0.05):
                return
        with claim:
            if not over.is_set():
                signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with claim:
            over.set()
        thread.join()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end, so that it ends what it has started; kill it where it does not, and wait for it."""
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] == "Z"
