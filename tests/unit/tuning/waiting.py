"""Waiting that ends: a test whose condition never comes fails after a minute instead of hanging."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

_DEADLINE_S = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; the test fails where it has not come within a minute."""
    end = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {_DEADLINE_S:.0f} s in vain until {what}")
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] == "Z"
