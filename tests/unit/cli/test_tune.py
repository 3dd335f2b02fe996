"""`kumulus tune` from the first trial to params.yaml, with a short objective; interrupted, continued, begun anew."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import ModelError
from pipeline.tracking.journal import journals, read
from pipeline.tuning import worker
from pipeline.tuning.storage import StorageError
from pipeline.tuning.workers import Crew
from tests.unit.tuning.waiting import interrupted_when

runner = CliRunner()

#: The score is 1 - |log10(lr) + 2.5|; with a file `hang` in the folder a trial never ends.
OBJECTIVE = '''
import math, time
from types import SimpleNamespace


def make(params, paths, tune, log):
    log.params({"inner_folds": [1]})

    def objective(changes, report):
        score = 1 - abs(math.log10(changes["train.optimizer.lr"]) + 2.5)
        if (paths.root / "hang").exists():
            (paths.root / "hangs").touch()
            time.sleep(600)
        report(1, score)
        return SimpleNamespace(score=score, fold_scores={1: score}, epochs=1, pruned=False)

    return objective
'''

TUNE = """
trials: 3
pruner: none
space:
  train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
  train.batch_size: {choices: [4, 8]}
"""


@pytest.fixture
def folder(
    tmp_path: Path, small_params: Callable[..., dict[str, Any]], dead_server: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A repository with something in place of scenes and split, and an MLflow that is away."""
    for name in ("scenes", "splits"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "file").write_text(name)
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_params(), file)
    (tmp_path / "quick.yaml").write_text(TUNE)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/cli_objective.py").write_text(OBJECTIVE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr(worker, "FACTORY", "cli_objective:make")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(*words: str, status: int = 0) -> tuple[str, str]:
    result = runner.invoke(app, ["tune", "quick.yaml", *words])
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def report_of(folder: Path) -> Path:
    (found,) = (folder / "reports/tune").iterdir()
    return found


def test_a_study_from_its_first_trial_to_params_yaml(folder: Path) -> None:
    assert "has not been begun in journal" in answer("--status")[0]
    out, _ = answer("--workers", "2")
    lines = out.splitlines()
    name = report_of(folder).name
    assert lines[0].startswith(f"study {name}: 3 trials in all, 2 workers with ")
    assert lines[1] == ("0 of 3 trials: 0 done, 0 pruned, 0 failed; no score yet; time left known after the first")
    assert any(line.startswith("3 of 3 trials: 3 done, 0 pruned, 0 failed; best 0.") and line.endswith("; complete")
               for line in lines)
    assert lines[-2] == f"reports/tune/{name} has the table and the figures"
    assert lines[-1].startswith("next: `kumulus tune quick.yaml --apply` writes the best values into params.yaml, and "
                                "`dvc repro` makes the model")
    assert {path.name for path in report_of(folder).iterdir()} == {
        "trials.csv", "best.yaml", "history.png", "importance.png", "results.json"}
    found = json.loads((report_of(folder) / "results.json").read_text())
    assert (found["counts"]["done"], found["setting"]) == (3, {"inner_folds": [1]})
    assert found["default"]["values"]["train.optimizer.lr"] == 1e-3
    assert found["default"]["score"] == pytest.approx(0.5)
    answer("--trials", "5")
    rows = list(csv.DictReader((report_of(folder) / "trials.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["done"] * 5
    out, said = answer("--status", "--trials", "5", "--workers", "2")
    assert f"study {name} in journal: 5 of 5 trials: 5 done" in out
    assert "--workers 2 has no effect with --status" in said
    best = max(rows, key=lambda row: float(row["score"]))
    assert "optimizer.lr: 0.001 -> " in answer("--apply")[0]
    train = YAML(typ="safe").load(folder / "params.yaml")["train"]
    assert (str(train["optimizer"]["lr"]), str(train["batch_size"])) == (
        best["train.optimizer.lr"], best["train.batch_size"])
    assert f"study {name} in journal: 5 of" in answer("--status")[0]  # the winner written back keeps the study


def test_a_study_is_told_to_mlflow_by_way_of_the_journal(folder: Path) -> None:
    _, err = answer()
    assert "tracking: MLflow at" in err
    kept = {path.name.rpartition("-")[0].rpartition("-")[2]: path for path in journals(folder / ".kumulus/journal")}
    assert sorted(kept) == ["trial", "tune"]
    events = list(read(kept["tune"]))
    assert events[0].fields["name"] == report_of(folder).name
    artifacts = {Path(event.fields["file"]).name for event in events if event.kind == "artifact"}
    assert artifacts >= {"trials.csv", "best.yaml", "history.png", "importance.png", "results.json"}
    assert (events[-1].kind, events[-1].fields["status"]) == ("end", "FINISHED")


def test_a_changed_base_begins_a_new_study_and_says_so(folder: Path) -> None:
    answer()
    first = report_of(folder).name
    text = (folder / "params.yaml").read_text()
    assert "epochs: 3\n" in text
    (folder / "params.yaml").write_text(text.replace("epochs: 3\n", "epochs: 4\n"))
    out, _ = answer("--status")
    assert "has not been begun in journal" in out
    assert f"with other params, data or code: {first}" in out
    _, err = answer("--apply", status=1)
    assert f"and {first} stands on other params, data or code (reports/tune/{first}/best.yaml has what it found)" in err
    out, err = answer()
    assert f"a new study begins, as scores of {first} could not be compared: train.epochs: 3 -> 4" in err
    assert len(list((folder / "reports/tune").iterdir())) == 2


def test_after_ctrl_c_the_study_goes_on(folder: Path) -> None:
    (folder / "hang").touch()
    with interrupted_when((folder / "hangs").exists):
        out, err = answer(status=130)
    assert (folder / "hangs").exists()
    assert "no trial has a score yet" in out
    assert "interrupted: the trials that were running are tried again when `kumulus tune` goes on" in err
    (folder / "hang").unlink()
    answer()
    rows = list(csv.DictReader((report_of(folder) / "trials.csv").read_text().splitlines()))
    assert sorted(row["state"] for row in rows) == ["done", "done", "done", "lost"]
    assert rows[1]["retry_of"] == "0"


@pytest.mark.parametrize("error", [ModelError("workers must live"), StorageError("the database must answer")])
def test_what_was_found_before_an_error_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Crew, "work", fail)
    out, err = answer(status=1)
    assert "no trial has a score yet" in out
    assert err.endswith(f"kumulus: {error}\n")
    assert (report_of(folder) / "results.json").exists()


def test_where_the_storage_does_not_answer_the_first_error_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StorageError("the database must answer")

    def fail_first(*_: Any) -> None:
        raise ModelError("workers must live")

    monkeypatch.setattr(Crew, "work", fail_first)
    monkeypatch.setattr("pipeline.tuning.history.results", fail)
    assert answer(status=1)[1].endswith("kumulus: workers must live\n")
    assert not list(folder.glob("reports/tune/*"))


@pytest.mark.parametrize(("words", "message"), [
    (["--apply", "--trials", "3"], "kumulus: --apply must stand without --trials and --status"),
    (["--apply"], "kumulus: study quick-"),
    (["--storage", "sqlite:///s3cret.db"], "kumulus: --storage must be postgresql://user@host/database"),
    (["--storage", "postgresql://me:s3cret@127.0.0.1:9/studies"],
     "kumulus: the study's database at postgresql://127.0.0.1:9/studies must answer: "),
])
def test_errors_take_one_line(folder: Path, words: list[str], message: str) -> None:
    _, err = answer(*words, status=1)
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert "s3cret" not in err
    assert not (folder / "reports").exists()
