"""Which members of a training are fetched, under which numbers, and when they are not whole; MLflow is a stand-in."""

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.tracking import weights


def run_of(run_id: str, stage: str, status: str = "FINISHED", member: int | None = None, **params: str) -> Any:
    tags = {"kumulus.run_key": "key", "kumulus.stage": stage}
    if member is not None:
        tags["kumulus.member"] = str(member)
    return SimpleNamespace(info=SimpleNamespace(run_id=run_id, status=status),
                           data=SimpleNamespace(tags=tags, params=params))


class Server:
    """Runs, newest first; the files of a run hold its id."""

    def __init__(self, *runs: Any) -> None:
        self.runs = {run.info.run_id: run for run in runs}

    def get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def search_experiments(self) -> list[Any]:
        return [SimpleNamespace(experiment_id="1")]

    def search_runs(self, experiments: list[str], text: str, order_by: list[str]) -> list[Any]:
        return [run for run in self.runs.values()
                if all(f"`{name}` = '{value}'" in text for name, value in run.data.tags.items()
                       if name != "kumulus.member")]

    def list_artifacts(self, run_id: str, folder: str) -> list[Any]:
        if folder == "export":
            return [SimpleNamespace(path="export/lineage.json")] if run_id.startswith("stated") else []
        return [SimpleNamespace(path=f"{folder}/{name}") for name in ("weights.safetensors", "model.json")]

    def download_artifacts(self, run_id: str, path: str, scratch: str) -> str:
        file = Path(scratch) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(run_id)
        return str(file)


def fetched(monkeypatch: pytest.MonkeyPatch, root: Path, uri: str, *runs: Any) -> dict[str, str]:
    monkeypatch.setattr(weights, "probe", lambda store: None)
    monkeypatch.setattr(weights, "client", lambda store: Server(*runs))
    monkeypatch.setattr(weights, "session", lambda store: contextlib.nullcontext())
    weights.fetch(uri, root / "start", Paths(root))
    return {file.parent.name: file.read_text() for file in (root / "start").glob("members/*/weights.safetensors")}


TRAINING = run_of("all", "train", **{"train.folds": "3", "train.seeds": "[]"})


def test_members_keep_their_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    members = [run_of(name, "member", member=number) for name, number in (("c", 2), ("a", 0), ("b", 1), ("old", 1))]
    assert fetched(monkeypatch, tmp_path, "runs:/all", TRAINING, *members) == {"0": "a", "1": "b", "2": "c"}
    assert fetched(monkeypatch, tmp_path, "runs:/b", TRAINING, *members) == {"1": "b"}


@pytest.mark.parametrize("there", [(0, 2), (0, 1), ()])
def test_a_member_that_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: tuple[int, ...]
) -> None:
    members = [run_of(f"m{number}", "member", member=number) for number in there]
    missing = [number for number in range(3) if number not in there]
    with pytest.raises(ModelError, match=rf"for each of its 3 members: those of \[{str(missing)[1:-1]}\] are not"):
        fetched(monkeypatch, tmp_path, "runs:/all", TRAINING, *members)
    assert not (tmp_path / "start").exists()


@pytest.mark.parametrize(("training", "member", "subject"), [
    ("KILLED", "FINISHED", "it"), ("FINISHED", "RUNNING", "its member 0"), ("FAILED", "FAILED", "it")])
def test_what_is_not_finished_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, training: str, member: str, subject: str
) -> None:
    with pytest.raises(ModelError, match=f"{subject} must be FINISHED, so that its weights are whole"):
        fetched(monkeypatch, tmp_path, "runs:/all", run_of("all", "train", training),
                run_of("a", "member", member, member=0))


def test_a_training_of_one_member_has_it_in_its_own_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone = run_of("all", "train", **{"train.folds": "1", "train.seeds": "[]"})
    assert fetched(monkeypatch, tmp_path, "runs:/all", alone) == {"0": "all"}
    assert fetched(monkeypatch, tmp_path, "runs:/all/best", run_of("all", "train", "KILLED")) == {"0": "all"}
    with pytest.raises(ModelError, match="it is a run of stage evaluate, which keeps no weights"):
        fetched(monkeypatch, tmp_path, "runs:/all", run_of("all", "evaluate"))


def test_the_statement_of_its_newest_export_comes_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone = run_of("all", "train", **{"train.folds": "1", "train.seeds": "[]"})
    fetched(monkeypatch, tmp_path, "runs:/all", alone, run_of("none", "export"))
    assert not (tmp_path / "start/lineage.json").exists()
    fetched(monkeypatch, tmp_path, "runs:/all", alone, run_of("none", "export"), run_of("stated-2", "export"),
            run_of("stated-1", "export"))
    assert (tmp_path / "start/lineage.json").read_text() == "stated-2"
