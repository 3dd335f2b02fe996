"""The crew by itself: when it starts workers, what it asks of the storage, and what it clears away."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from pipeline.tuning import retry, storage, workers
from pipeline.tuning.storage import Place, StorageError, held, sweep
from pipeline.tuning.workers import Crew


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PAUSE_S", 0.01)


def running_elsewhere(bench: Any) -> tuple[Any, Any]:
    """The study with one trial, which a worker of another machine is at."""
    study = bench.study()
    trial = study.ask()
    trial.suggest_float("train.optimizer.lr", 1e-4, 1e-2, log=True)
    trial.set_user_attr(retry.OWNER, retry.owner("far", 1) | {"host": "far away"})
    return study, trial


def test_while_others_are_at_the_last_trials_no_worker_is_started(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study, trial = running_elsewhere(bench)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a worker was started"))
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        study.tell(trial.number, 0.5)  # the next look finds it over

    with Crew(bench.job(1), study, 2, 1, say, 0.01) as crew:
        crew.work(lambda _: None)
    assert said == ["waiting for 1 trial of other machines"]


def test_what_is_lost_and_replaced_is_not_asked_for_at_every_look(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study, trial = running_elsewhere(bench)
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    retry.reclaim(study, bench.place)
    asked: list[int] = []
    crew = Crew(bench.job(1), study, 2, 1, lambda _: None, 0.01)
    crew._asked = time.monotonic() + 3600  # strangers are not asked for either
    monkeypatch.setattr(crew, "_reclaim", lambda: asked.append(1))
    looks = iter(range(5))

    def start(wanted: int) -> None:
        assert wanted == 1
        if next(looks, None) is None:
            study.tell(study.ask().number, 0.5)

    monkeypatch.setattr(crew, "_start", start)
    crew.work(lambda _: None)
    assert asked == []


def test_a_database_that_is_away_for_a_moment_is_waited_for(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study = bench.study()
    study.tell(study.ask().number, 0.5)
    inner, left = study.get_trials, iter(range(3))

    def get_trials(**words: Any) -> Any:
        if next(left, None) is not None:
            raise StorageInternalError("server closed the connection")
        return inner(**words)

    monkeypatch.setattr(study, "get_trials", get_trials)
    said: list[str] = []
    crew = Crew(bench.job(1), study, 1, 1, said.append, 0.01)
    crew.work(lambda _: None)
    assert len(said) == 1
    assert said[0].endswith("trying again for 120 s")
    left = iter(range(2))
    crew._reclaim()
    assert len(said) == 2


def test_a_database_that_stays_away_ends_it(tmp_path: Path) -> None:
    calls: list[int] = []

    def away() -> None:
        calls.append(1)
        raise StorageInternalError("connection refused")

    with pytest.raises(StorageError, match="must answer: connection refused"):
        Place(tmp_path, grace_s=0).patiently(away)
    assert calls == [1]
    with pytest.raises(ZeroDivisionError):  # no fault of the database's
        Place(tmp_path).patiently(lambda: 1 // 0)


def test_a_worker_that_has_died_before_it_read_its_job_is_let_go() -> None:
    process = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    process.wait()
    assert process.stdin is not None
    process.stdin.write(b"job")  # kept, as it does not fill a buffer
    workers._let_go(process)
    assert process.stdin.closed


def test_what_earlier_searches_have_left_goes_after_a_day(tmp_path: Path) -> None:
    for name in ("workers/old.lock", "workers/old.log", "workers/young.log", "inner/old/one/ground.tif",
                 "inner/young/one/ground.tif", "inner/old.lock", "short-0123456789.journal"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        if "young" not in name:
            os.utime(tmp_path / name, (1, 1))
    os.utime(tmp_path / "inner/old", (1, 1))
    with held(tmp_path / "workers/living.lock"):
        os.utime(tmp_path / "workers/living.lock", (1, 1))
        sweep(tmp_path)
        assert (tmp_path / "workers/living.lock").exists()
        assert (tmp_path / "inner/old").exists()  # it may be at it
    assert sorted(path.name for path in (tmp_path / "workers").iterdir()) == ["young.log"]
    (tmp_path / "workers/young.lock").touch()
    sweep(tmp_path)
    assert (tmp_path / "inner/old").exists()
    (tmp_path / "workers/young.lock").unlink()
    sweep(tmp_path)
    assert {path.name for path in (tmp_path / "inner").iterdir() if path.is_dir()} == {"young"}
    assert (tmp_path / "short-0123456789.journal").exists()
    sweep(tmp_path / "none")
