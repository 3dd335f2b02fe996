"""Each check of the doctor, on folders that are in order and folders that are not."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.paths import Paths
from tests.git_call import git


def test_lock_agrees_with_what_is_installed(tmp_path: Path) -> None:
    version = importlib.metadata.version("numpy")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"numpy=={version} \\\n    --hash=sha256:0\n"
                    "nothing==1 ; sys_platform == 'none' \\\n    --hash=sha256:0\n")
    assert doctor.installed(lock) == doctor.Check("packages", "ok", "1 as in requirements.lock")


def test_lock_disagrees(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.1 \\\n    --hash=sha256:0\nno-such-package==1\nno-b==1\nno-c==1\n")
    found = doctor.installed(lock)
    assert found.state == "wrong"
    assert f"numpy is {importlib.metadata.version('numpy')}, not ==0.1, no-such-package is not installed" in found.text
    assert found.text.endswith("and 1 more; run `rm .venv/.installed && make setup`")
    assert doctor.installed(tmp_path / "none.lock").state == "wrong"


def test_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "no git checkout" in doctor.git(tmp_path).text
    git(tmp_path, "init", "-q")
    assert "no commit yet" in doctor.git(tmp_path).text
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    assert doctor.git(tmp_path).text.endswith("nothing uncommitted")
    (tmp_path / "new").touch()
    found = doctor.git(tmp_path)
    assert (found.state, found.text.endswith("1 uncommitted changes")) == ("ok", True)


def test_dvc_missing_and_unreadable(tmp_path: Path) -> None:
    assert ".dvc/config is missing" in doctor.dvc(tmp_path).text
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    assert doctor.dvc(tmp_path).state == "wrong"  # no repository around it


def test_params(tmp_path: Path, project: Path) -> None:
    assert doctor.params(Paths(project)).state == "ok"
    found = doctor.params(Paths(tmp_path))
    assert (found.state, "must exist" in found.text) == ("wrong", True)


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_GB", 0.0)
    assert doctor.disk(tmp_path).state == "ok"
    monkeypatch.setattr(doctor, "FREE_GB", 1e9)
    assert doctor.disk(tmp_path).state == "wrong"


def test_tracking_of_a_local_store_and_of_a_dead_server(
    tmp_path: Path, dead_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.tracking(Paths(tmp_path)).state == "ok"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    found = doctor.tracking(Paths(tmp_path))
    assert found.state == "note"
    assert f"{dead_server} does not answer" in found.text


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = doctor.device()
    assert (found.state, "torch cannot be imported" in found.text) == ("wrong", True)


def test_unfinished_work(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert doctor.unfinished(paths).text == "nothing"
    (paths.resume / "abc").mkdir(parents=True)
    (paths.journal / "run-1").mkdir(parents=True)
    (paths.journal / ".half.new").mkdir()
    assert doctor.unfinished(paths).text == (
        "1 interrupted trainings (`make repro` takes them up), 1 runs not yet in MLflow (`kumulus sync`)")


def test_report_covers_everything_once(project: Path) -> None:
    subjects = [check.subject for check in doctor.examine(Paths(project))]
    assert subjects == ["python", "packages", "git", "dvc", "params", "disk", "mlflow", "unfinished", "device"]
