"""Runs of a study and, below it, of its trials: delivered beside it, killed ones told, continued under one parent."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.tracking.journal import Journal, journals
from pipeline.tracking.runs import study_run, trial_run
from pipeline.tracking.sender import sync

Runs = Callable[[], list[Any]]
KEY = "fedcba9876543210fedcba98"


def test_a_study_has_a_child_run_for_each_trial(paths: Paths, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    with study_run(paths, KEY, "short-0123456789", {"kumulus.study": "short-0123456789"}) as study:
        with trial_run(paths, KEY, 0) as trial:
            trial.params({"train.optimizer.lr": 0.001})
            for step, score in ((1, 0.25), (2, 0.5)):
                trial.metrics({"score": score}, step)
        with pytest.raises(ModelError), trial_run(paths, KEY, 1, {"kumulus.retry_of": "0"}):
            raise ModelError("loss must be finite: got nan")
        study.metrics({"best_score": 0.5})
    assert capfd.readouterr().err == ""
    assert journals(paths.journal) == []
    parent, *children = runs()
    assert (parent.info.run_name, parent.data.tags["kumulus.stage"]) == ("short-0123456789", "tune")
    assert parent.data.tags["mlflow.source.name"] == "kumulus tune"
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [child.data.tags["kumulus.trial"] for child in children] == ["0", "1"]
    assert [child.info.status for child in children] == ["FINISHED", "FAILED"]
    assert children[0].data.metrics["score"] == 0.5
    assert children[0].data.params["train.optimizer.lr"] == "0.001"
    assert children[1].data.tags["kumulus.error"] == "ModelError: loss must be finite: got nan"


def test_a_killed_trial_is_told_and_a_continued_study_has_one_parent(paths: Paths, runs: Runs) -> None:
    killed = Journal.create(paths.journal, KEY, "trial", "trial-0", {"kumulus.trial": "0"})
    killed.metrics({"score": 0.25}, 1)
    assert killed._descriptor is not None
    os.close(killed._descriptor)  # what a kill does: the lock goes, no `end` is written
    with study_run(paths, KEY, "short-0123456789"):
        pass
    with pytest.raises(KeyboardInterrupt), study_run(paths, KEY, "short-0123456789"):
        raise KeyboardInterrupt
    with study_run(paths, KEY, "short-0123456789"), trial_run(paths, KEY, 1):
        pass
    studies = [run for run in runs() if run.data.tags["kumulus.stage"] == "tune"]
    trials = [run for run in runs() if run.data.tags["kumulus.stage"] == "trial"]
    assert [run.info.status for run in studies] == ["FINISHED"]
    assert sorted(run.info.status for run in trials) == ["FINISHED", "KILLED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {studies[0].info.run_id}


def test_a_dead_server_keeps_no_trial_waiting_and_loses_none(
    paths: Paths, runs: Runs, dead_server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with study_run(paths, KEY, "short-0123456789"), trial_run(paths, KEY, 0) as trial:
        trial.metrics({"score": 0.25}, 1)
    told = capfd.readouterr().err
    assert "did not take this run" in told
    assert "and 1 beside it, and `kumulus sync` sends it later" in told
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert [one.outcome for one in sync(paths)] == ["delivered", "delivered"]
    assert sorted(run.data.tags["kumulus.stage"] for run in runs()) == ["trial", "tune"]
