"""What git and DVC are asked, on a repository of git made for it, and how their answers are read."""

from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, ParamsError
from pipeline.experiments import repository
from tests.git_call import git


@pytest.fixture
def committed(root: Path) -> Path:
    (root / ".gitignore").write_text("/inputs/*\n!/inputs/README.md\n!/inputs/*.dvc\n", encoding="utf-8")
    (root / "inputs/README.md").write_text("what belongs here", encoding="utf-8")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "state")
    return root


def test_the_call_of_dvc() -> None:
    assert repository.command("t-a-12", ["++a=1", "~b.c"], ["inputs/x"]) == [
        "dvc", "exp", "run", "--temp", "--name", "t-a-12", "--set-param", "++a=1", "--set-param", "~b.c",
        "--copy-paths", "inputs/x", "evaluate"]


def test_what_runs_must_be_committed(committed: Path) -> None:
    (committed / "notes.txt").write_text("mine", encoding="utf-8")  # nothing that runs
    repository.require_committed(committed)
    with (committed / "params.yaml").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    with pytest.raises(ParamsError, match=r"must be committed, .*: params.yaml is changed; `git commit` it"):
        repository.require_committed(committed)


@pytest.mark.parametrize("ignored", [False, True])
def test_code_that_git_does_not_know_is_refused(committed: Path, ignored: bool) -> None:
    git(committed, "rm", "--cached", "--quiet", "code.py")
    (committed / ".gitignore").write_text("code.py\n" if ignored else "", encoding="utf-8")
    git(committed, "add", ".gitignore")
    git(committed, "commit", "--quiet", "-m", "without")
    with pytest.raises(ParamsError, match=r"code.py is unknown to git"):
        repository.require_committed(committed)


def test_no_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(IntegrityError, match="`git rev-parse` must work in"):
        repository.head(tmp_path)


def test_inputs_that_neither_git_nor_dvc_has_are_copied(committed: Path) -> None:
    (committed / "inputs/tracked.tif").write_text("by dvc", encoding="utf-8")
    (committed / "inputs/tracked.tif.dvc").write_text("", encoding="utf-8")
    (committed / "inputs/folder").mkdir()
    (committed / "inputs/folder/own.tif").write_text("own", encoding="utf-8")
    assert repository.untracked_inputs(committed, "inputs") == ["inputs/folder", "inputs/scene"]
    git(committed, "add", "--force", "inputs/scene")
    assert repository.untracked_inputs(committed, "inputs") == ["inputs/folder"]
    assert repository.untracked_inputs(committed, str(committed / "inputs")) == []  # a copy finds it by its path
    assert repository.untracked_inputs(committed, "none") == []


def test_inputs_of_which_git_has_nothing_are_copied_whole(committed: Path) -> None:
    (committed / "mine/deep").mkdir(parents=True)
    (committed / "mine/deep/own.tif").write_text("own", encoding="utf-8")
    assert repository.untracked_inputs(committed, "mine") == ["mine"]


def test_experiments_are_found_by_name_on_any_commit(committed: Path) -> None:
    assert repository.experiment_rev(committed, "t-a") is None
    git(committed, "update-ref", "refs/exps/12/345/t-a", "HEAD")
    git(committed, "update-ref", "refs/exps/12/345/t-ab", "HEAD")
    assert repository.experiment_rev(committed, "t-a") == repository.head(committed)


@pytest.mark.parametrize("name", ["*", "t-*", "t-?", "t-[a]", "345/t-a", "t-", ""])
def test_a_name_is_no_pattern(committed: Path, name: str) -> None:
    git(committed, "update-ref", "refs/exps/12/345/t-a", "HEAD")
    assert repository.experiment_rev(committed, name) is None


def test_an_experiment_with_other_params_is_refused(committed: Path) -> None:
    from pipeline.params.load import load

    dump = load(committed / "params.yaml").dump()
    repository.require_params(committed, "HEAD", dump)
    with pytest.raises(IntegrityError, match="section train differs"):
        repository.require_params(committed, "HEAD", {**dump, "train": {**dump["train"], "epochs": 9}})


@pytest.mark.parametrize(("text", "reason"), [
    ("Running stage 'train':\n> python -m stages.train\ntrain: train.x must be y: got z\n"
     "ERROR: failed to reproduce 'train': failed to run: python -m stages.train, exited with 1\n",
     "train: train.x must be y: got z"),
    ("> python -m stages.train\nTraceback:\n  File\nValueError: boom\nERROR: failed to reproduce 'train': x\n",
     "ValueError: boom"),
    ("> python -m stages.train\nERROR: failed to reproduce 'train': exited with -9\n",
     "failed to reproduce 'train': exited with -9"),
    ("ERROR: Invalid `--set-param` value\n", "Invalid `--set-param` value"),
    ("10%|#\r20%|##\nKilled\n", "Killed"),
    ("", "dvc ended with status 3"),
    ("x" * 300, "x" * 240 + " ..."),
])
def test_a_failure_is_told_in_one_line(text: str, reason: str) -> None:
    assert repository.reason_of(text, 3) == reason
