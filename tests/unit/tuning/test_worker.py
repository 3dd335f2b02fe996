"""A worker in this process: what it asks and tells, and what ends it."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError
from pipeline.tuning import retry, storage
from pipeline.tuning.retry import Fate
from pipeline.tuning.storage import Place
from pipeline.tuning.study import Subject
from pipeline.tuning.worker import Stopped, Worker
from tests.unit.tuning.trials import fates, until_given_up


@pytest.fixture
def ready(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The study begun, with something in place of scenes and split, and its objective to be imported here."""
    monkeypatch.syspath_prepend(os.environ["PYTHONPATH"])
    monkeypatch.setattr(storage, "_PAUSE_S", 0.01)
    sys.modules.pop("short_objective", None)
    for name in ("scenes", "splits"):
        (bench.root / "data" / name).mkdir(parents=True)
        (bench.root / "data" / name / "file").write_text(name)
    bench.study()
    return bench


def worker_of(bench: Any, total: int, **job: Any) -> Worker:
    return Worker(replace(bench.job(total), worker="one", **job))


def failing(times: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """A function that fails so often, as where a database is away, before it does what it should."""
    left = iter(range(times))

    def attempt(*words: Any) -> Any:
        if next(left, None) is not None:
            raise StorageInternalError("connection refused")
        return call(*words)

    return attempt


def test_data_must_be_what_the_study_was_opened_with(ready: Any) -> None:
    data = {name: folder_sha256(ready.root / "data" / name) for name in ("scenes", "splits")}
    worker_of(ready, 1, data=data)
    (ready.root / "data/splits/file").write_text("other")
    with pytest.raises(ModelError, match=r"data/splits must stay as it is while a study runs"):
        worker_of(ready, 1, data=data)


def test_no_score_is_told_of_data_that_has_changed(ready: Any) -> None:
    ready.plan(call_1="write")
    with pytest.raises(Stopped, match=r"data must stay as it is .*: data/scenes/file has been written since"):
        worker_of(ready, 3).run()
    study = ready.study()
    assert fates(study) == [Fate.DONE, Fate.LOST]
    cut = study.get_trials()[1]
    assert (list(cut.intermediate_values), cut.user_attrs[retry.INTERRUPTED]) == ([1], True)
    ready.plan()
    worker_of(ready, 3).run()  # a new one takes the data as it is; the study's name would be another's
    assert fates(ready.study()) == [Fate.DONE, Fate.LOST, Fate.DONE, Fate.DONE]


def test_an_error_from_data_that_has_changed_is_not_the_trials(ready: Any) -> None:
    worker = worker_of(ready, 3)

    def read(_changes: Any, _report: Any) -> None:
        (ready.root / "data/scenes/file").unlink()
        raise ModelError("the file must be a raster")

    worker.objective = read  # type: ignore[assignment]
    with pytest.raises(Stopped, match="data/scenes/file"):
        worker.run()
    assert fates(ready.study()) == [Fate.LOST]


def test_a_database_that_is_away_for_a_moment_costs_no_trial(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.trial.Trial, "report", failing(2, optuna.trial.Trial.report))
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", failing(2, optuna.trial.Trial.should_prune))
    worker = worker_of(ready, 2)
    monkeypatch.setattr(retry, "reclaim", failing(2, retry.reclaim))
    worker.run()
    assert fates(ready.study()) == [Fate.DONE, Fate.DONE]


def test_at_the_last_step_nobody_asks_for_pruning(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: asked.append(trial.number))
    worker = worker_of(ready, 2)  # epochs: 3
    assert (worker.last_step({}), worker.last_step({"train.epochs": 2})) == (6, 5)
    worker._folds = 1
    worker.run()
    assert asked == [1, 1]  # never of params.yaml's own values, trial 0; of trial 1 after steps 1 and 2


def test_params_yamls_own_numbers_are_tried_as_they_are(ready: Any) -> None:
    study = optuna.create_study(study_name="short-0000000000", storage=ready.place.open("short-0000000000"),
                                direction="maximize")
    known = {"train.optimizer.lr": 0.00123456, "train.batch_size": 4}
    study.set_user_attr("key", "0" * 32)
    study.enqueue_trial(known, user_attrs={"default": True})
    study.enqueue_trial(known)
    worker = Worker(replace(ready.job(2), worker="one", study="short-0000000000"))
    seen, inner = [], worker.objective

    def objective(changes: Any, report: Any) -> Any:
        seen.append(changes["train.optimizer.lr"])
        return inner(changes, report)

    worker.objective = objective
    worker.run()
    assert seen == [0.00123456, 0.001235]


class _KilledError(BaseException):
    """Ends a worker at once, as a kill does."""


def test_a_signed_trial_has_a_heartbeat_whatever_optunas_thread_does(
    ready: Any, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(ready, about=Subject("short-6666666666", ready.about.basis)).at(postgres, grace_s=10)
    study = other.study()
    thread = optuna.storages._heartbeat.HeartbeatThread
    monkeypatch.setattr(thread, "start", lambda _: None)
    monkeypatch.setattr(thread, "join", lambda _: None)
    far = retry.owner("one", os.getpid()) | {"host": "far away"}
    monkeypatch.setattr(retry, "owner", lambda *_: far)
    worker = worker_of(other, 1)

    def die(_changes: Any, _report: Any) -> None:
        raise _KilledError

    worker.objective = die  # type: ignore[assignment]
    with pytest.raises(_KilledError):
        worker.run()
    assert fates(study) == [Fate.RUNNING]
    until_given_up(study, other.place)


def test_a_heartbeat_outlives_a_database_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PAUSE_S", 0.01)
    beats: list[int] = []
    monkeypatch.setattr(optuna.storages.RDBStorage, "record_heartbeat",
                        failing(2, lambda _, trial_id: beats.append(trial_id)))
    made = storage._rdb(Place(tmp_path))
    made.record_heartbeat(made.__new__(made), 7)
    assert beats == [7]
