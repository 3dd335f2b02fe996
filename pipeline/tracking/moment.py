"""When something was made, and at which commit; what a result may be told beside, and never depends on."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def now() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"commit", "dirty"} of the repository around `folder`; None outside of one, without git or a commit.

    dvc.lock does not count as dirt: it changes while the pipeline runs, and is the result and not the question.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)dvc.lock")
    if commit is None or status is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(status.strip())}


def _git(folder: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout
