"""A clone in which stages run: isolated, told about while it runs, and gone afterwards."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.lineage.scratch import cloned
from tests.git_call import git
from tests.unit.tuning.waiting import stop, until

#: A stage that leaves what it was given, one that fails, and one that never ends.
STAGE = """
import json, os, sys, time
from pathlib import Path
print(f"made in {Path.cwd().name}")
Path("made").write_text(json.dumps(dict(os.environ)))
"""
FAILS = "import sys\nprint('train: the learning rate must be positive: got -1', file=sys.stderr)\nsys.exit(1)\n"
ENDLESS = "import time\nfrom pathlib import Path\nPath('begun').write_text('')\ntime.sleep(600)\n"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repo"
    (root / "stages").mkdir(parents=True)
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n", encoding="utf-8")
    (root / "dvc.yaml").write_text("stages:\n  train:\n    cmd: python -m stages.train\n    deps: [stages/train.py]\n"
                                   "    outs: [made]\n", encoding="utf-8")
    write(root, STAGE)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)  # no bar, also with -s
    (tmp_path / "scratch").mkdir()
    git(root, "init", "--quiet", "--initial-branch", "main")
    return root


def write(root: Path, text: str) -> None:
    (root / "stages/train.py").write_text(text, encoding="utf-8")


def commit(root: Path) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "state")
    return git(root, "rev-parse", "HEAD")


def listing(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_commit_runs_apart_from_everything(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = commit(repo)
    write(repo, "raise SystemExit('a later state')\n")
    commit(repo)
    for name, value in {"DVC_ROOT": "/somewhere", "DVC_STUDIO_TOKEN": "x", "GIT_DIR_": "x", "PYTHONPATH": str(repo),
                        "KUMULUS_KEY_PASSPHRASE": "x",
                        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    before, said = listing(repo), []
    with cloned(repo, "", first, False, said.append) as scratch:
        scratch.threads = 3
        assert scratch.repro((), 1, said.append) == ""
        given = json.loads((scratch.root / "made").read_text(encoding="utf-8"))
        assert "made in repository" in scratch.log.read_text(encoding="utf-8")
        folder = scratch.folder
    assert not folder.exists()
    assert listing(repo) == before
    assert not (tmp_path / "shared").exists()
    assert given["MLFLOW_TRACKING_URI"] == f"sqlite:///{folder}/mlflow.db"
    assert given["DVC_ROOT"] == str(folder / "repository")  # DVC's own word, not the caller's
    assert {"DVC_STUDIO_TOKEN", "PYTHONPATH", "GIT_DIR_", "KUMULUS_KEY_PASSPHRASE"}.isdisjoint(given)
    assert given["OMP_NUM_THREADS"] == "3"
    assert [line.partition(" (")[0] for line in said] == ["replay: 1 of 1, train"]


def test_on_a_terminal_a_bar_shows_the_stages_own_last_line(repo: Path, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    write(repo, STAGE + "print('epoch 3 of 9', flush=True)\ntime.sleep(1.5)\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    said: list[str] = []
    with cloned(repo, "", commit(repo), False, said.append) as scratch:
        assert scratch.repro((), 1, said.append) == ""
    assert said == []
    assert "train: epoch 3 of 9" in capsys.readouterr().err


def test_params_are_read_by_the_commits_own_code(repo: Path) -> None:
    (repo / "params.yaml").write_text("seed: 1\n", encoding="utf-8")
    for name, text in (("__init__", ""), ("params/__init__", ""), ("params/load", "def load(path):\n    return Own()\n"
                       "class Own:\n    def dump(self):\n        return {'seed': 1, 'only_here': 2}\n")):
        (repo / f"pipeline/{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (repo / f"pipeline/{name}.py").write_text(text, encoding="utf-8")
    with cloned(repo, "", commit(repo), False, print) as scratch:
        assert scratch.params() == {"seed": 1, "only_here": 2}
        (scratch.root / "pipeline/params/load.py").write_text("raise SystemExit('no such schema')\n", encoding="utf-8")
        with pytest.raises(IntegrityError, match=r"must read its params\.yaml: no such schema"):
            scratch.params()


def test_a_stage_that_fails_says_why(repo: Path) -> None:
    write(repo, FAILS)
    with cloned(repo, "", commit(repo), False, print) as scratch:
        assert scratch.repro((), 1, print) == "train: the learning rate must be positive: got -1"


def test_a_project_in_a_folder_of_the_repository(repo: Path, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    git(top, "init", "--quiet", "--initial-branch", "main")
    (repo / ".git").rename(tmp_path / "unused")
    repo.rename(top / "project")
    head = commit(top)
    with cloned(top / "project", "project/", head, False, print) as scratch:
        assert (scratch.root / "stages/train.py").read_text(encoding="utf-8") == STAGE


def test_it_can_be_kept(repo: Path) -> None:
    said: list[str] = []
    with cloned(repo, "", commit(repo), True, said.append) as scratch:
        pass
    assert scratch.root.is_dir()
    assert said == [f"replay: {scratch.folder} is kept; remove it when you have seen it"]


def test_an_unknown_commit_is_refused_and_leaves_nothing(repo: Path, tmp_path: Path) -> None:
    commit(repo)
    with pytest.raises(IntegrityError, match="`git checkout` must work"), cloned(repo, "", "1" * 40, False, print):
        pass
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
                         ids=["int", "term", "hup"])
def test_interrupted_it_ends_what_it_has_started_and_leaves_nothing(repo: Path, tmp_path: Path, project: Path,
                                                                    number: int, status: int) -> None:
    write(repo, ENDLESS)
    script = ("import signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
              "from pathlib import Path\nfrom pipeline.lineage.scratch import cloned\n"
              "try:\n    with cloned(Path(sys.argv[1]), '', sys.argv[2], False, print) as scratch:\n"
              "        scratch.repro((), 1, print)\nexcept KeyboardInterrupt:\n    sys.exit(130)\n")
    process = subprocess.Popen([sys.executable, "-c", script, str(repo), commit(repo)], cwd=project,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, "TMPDIR": str(tmp_path / "scratch")})
    try:
        until(lambda: bool(list((tmp_path / "scratch").glob("*/repository/begun"))) or process.poll() is not None,
              "the stage has begun")
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == status
    finally:
        stop(process)
    assert not list((tmp_path / "scratch").glob("kumulus-replay-*"))
    running = [path for path in Path("/proc").glob("[0-9]*/cwd") if _target(path).startswith(str(tmp_path / "scratch"))]
    assert not running


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
