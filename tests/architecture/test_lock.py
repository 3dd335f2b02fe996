"""requirements.lock is pinned, hashed, names no host, and holds everything the project imports."""

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def lock(project: Path) -> str:
    return (project / "requirements.lock").read_text(encoding="utf-8")


def test_names_no_host(lock: str) -> None:
    assert "://" not in lock
    assert "index-url" not in lock


def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    logical = lock.replace("\\\n", " ").strip().splitlines()
    assert len(logical) > 50
    for line in logical:
        assert re.match(r"^[a-z0-9-]+==[^ ]+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line


def test_holds_every_direct_requirement(lock: str, project: Path) -> None:
    text = (project / "requirements.in").read_text(encoding="utf-8")
    direct = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    names = {re.split(r"==|\[", line)[0].lower().replace(".", "-").replace("_", "-") for line in direct}
    assert names <= locked
