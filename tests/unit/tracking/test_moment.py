"""The commit and the time at which something is made."""

from datetime import datetime
from pathlib import Path

from pipeline.tracking.moment import git_state, now
from tests.git_call import git


def test_commit_and_dirt(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # before the first commit
    git(tmp_path, "commit", "--allow-empty", "-m", "one")
    clean = git_state(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "dvc.lock").write_text("")
    assert git_state(tmp_path) == clean
    (tmp_path / "sub").mkdir()
    (tmp_path / "new").write_text("")
    assert git_state(tmp_path / "sub") == {**clean, "dirty": True}
    assert git_state(tmp_path) == {**clean, "dirty": True}


def test_time_is_utc() -> None:
    assert datetime.fromisoformat(now()).utcoffset() == datetime.fromisoformat("2000-01-01T00:00:00+00:00").utcoffset()
