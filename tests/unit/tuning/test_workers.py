"""Worker processes at a study with a short objective: killed ones cost no trial, in a journal and in PostgreSQL."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.tuning import retry
from pipeline.tuning.retry import Fate
from pipeline.tuning.study import Subject
from pipeline.tuning.worker import Job
from pipeline.tuning.workers import Crew, Progress, progress, threads_of
from tests.unit.tuning.waiting import interrupted_when, is_gone, until


def work(bench: Any, total: int, count: int = 2, factory: str = "short_objective:make"
         ) -> tuple[Any, list[str], list[Progress]]:
    """Run a study to its end: itself, what was said of workers, and each progress."""
    study, said, told = bench.study(), [], []
    with Crew(bench.job(total, factory), study, count, 1, said.append, 0.1) as crew:
        crew.work(told.append)
    return study, said, told


def elsewhere(job: Job) -> "subprocess.Popen[bytes]":
    """Another process, as `kumulus tune` is one, with two workers of its own."""
    script = (
        "import sys, json\nfrom pipeline.tuning.worker import Job\nfrom pipeline.tuning.workers import Crew\n"
        "from pipeline.tuning.space import TuneFile\nfrom pipeline.tuning.study import load\n"
        "job = Job(**json.loads(sys.argv[1]))\n"
        "study = load(job.place, job.study, TuneFile.model_validate(job.tune))\n"
        "with Crew(job, study, 2, 1, print, 0.1) as crew: crew.work(print)\n")
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ['PYTHONPATH']}"}
    return subprocess.Popen([sys.executable, "-c", script, job.dump()], env=environment, stdout=subprocess.DEVNULL)


def counted(study: Any) -> Counter[Fate]:
    return Counter(retry.fates(study.get_trials(deepcopy=False)).values())


@pytest.fixture(params=["journal", "postgresql"])
def place(bench: Any, request: pytest.FixtureRequest) -> Any:
    """The study in either storage; a database's is named after the test, as all share one server."""
    if request.param == "journal":
        return bench
    name = f"short-{abs(hash(request.node.nodeid)) % 10**10:010d}"
    return replace(bench, about=Subject(name, bench.about.basis)).at(request.getfixturevalue("postgres"))


def test_a_killed_worker_costs_no_trial(place: Any) -> None:
    place.plan(call_2="kill")
    study, said, told = work(place, 7)
    trials = study.get_trials(deepcopy=False)
    assert counted(study) == {Fate.DONE: 7, Fate.LOST: 1}
    lost = next(t for t in trials if t.state.name == "FAIL")
    again = next(t for t in trials if t.user_attrs.get(retry.RETRY_OF) == lost.number)
    assert again.params == lost.params
    assert (again.state.name, again.user_attrs[retry.KILLS]) == ("COMPLETE", 1)
    assert any("was killed by signal 9; another takes its place" in line for line in said)
    assert any(f"trial {lost.number} lost its worker; its values are tried again as trial {again.number}" in line
               for line in said)
    assert told[-1].over == told[-1].total == 7


def test_values_that_kill_every_worker_are_given_up_after_three_more_times(bench: Any) -> None:
    bench.plan(call_0="kill", call_1="kill", call_2="kill", call_3="kill")
    study, said, _ = work(bench, 3, count=1)
    assert counted(study) == {Fate.DONE: 2, Fate.LOST: 3, Fate.FAILED: 1}
    first = study.get_trials(deepcopy=False)[0]
    poison = [t for t in study.get_trials(deepcopy=False) if t.params == first.params and t.state.name == "FAIL"]
    assert [t.user_attrs.get(retry.KILLS, 0) for t in poison] == [0, 1, 2, 3]
    assert f"trial {poison[-1].number} failed: its worker was killed 4 times" in said


def test_a_study_goes_on_where_it_stopped_and_counts_what_is_over(bench: Any) -> None:
    work(bench, 2)
    study, _, told = work(bench, 5)
    assert (told[0].over, told[0].done) == (2, 2)
    assert len(study.get_trials(deepcopy=False)) == 5
    work(bench, 5)
    assert (bench.root / "calls").read_text().count("call") == 5


def test_one_worker_finds_the_same_interrupted_or_not(bench: Any) -> None:
    bench.plan(call_3="kill")
    work(bench, 3, count=1)
    cut, _, _ = work(bench, 6, count=1)
    other = replace(bench, about=Subject("short-9876543210", bench.about.basis))
    whole, _, _ = work(other, 6, count=1)
    assert counted(cut) == {Fate.DONE: 6, Fate.LOST: 1}
    assert [t.params for t in cut.get_trials() if t.state.name == "COMPLETE"] == [t.params for t in whole.get_trials()]
    assert cut.get_trials()[0].params["train.batch_size"] == 4  # params.yaml's own values come first
    assert len({t.params["train.optimizer.lr"] for t in cut.get_trials()}) == 6


def test_a_failed_trial_counts_and_says_why(bench: Any) -> None:
    bench.plan(call_1="fail", call_2="defect", call_3="nan")
    study, said, told = work(bench, 5, count=1)
    assert counted(study) == {Fate.FAILED: 3, Fate.DONE: 2}
    reasons = [retry.reason(t) for t in study.get_trials() if t.state.name == "FAIL"]
    assert reasons[0] == "loss must be finite: got nan in call 1"
    assert reasons[1].startswith("ZeroDivisionError: no such thing; its worker's log")
    kept = [path.read_text() for path in (bench.place.folder / "workers").glob("*.log")]
    assert ["ZeroDivisionError: no such thing" in text and "short_objective.py" in text for text in kept] == [True]
    assert reasons[2].startswith("a trial's score must be a finite number: got nan")
    assert f"trial 1 failed: {reasons[0]}" in said
    assert (told[-1].failed, told[-1].done, told[-1].over) == (3, 2, 5)


def test_a_study_of_which_every_trial_fails_is_stopped(bench: Any) -> None:
    bench.plan(all="fail")
    with pytest.raises(ModelError, match=r"all \d+ of this study failed, the last as loss must be finite: got nan"):
        work(bench, 1000, count=1)


def test_what_keeps_every_worker_from_working_is_said_once(bench: Any) -> None:
    with pytest.raises(ModelError, match=r"^weights to start from must be there: got none$"):
        work(bench, 3, factory="short_objective:refuse")


def test_workers_that_die_in_vain_are_not_replaced_for_ever(bench: Any) -> None:
    with pytest.raises(ModelError, match=r"5 in a row did not, the last was ended with status 1: .*'no_such_module'"):
        work(bench, 3, count=1, factory="no_such_module:make")


def test_interrupted_trials_are_tried_again_and_not_held_against_them(place: Any) -> None:
    place.plan(call_1="hang")
    study = place.study()
    with pytest.raises(KeyboardInterrupt), Crew(place.job(4), study, 2, 1, lambda _: None, 0.1) as crew, \
            interrupted_when((place.root / "hangs-1").exists):
        crew.work(lambda _: None)
    assert (place.root / "hangs-1").exists()
    assert counted(study)[Fate.RUNNING] == 0
    place.plan()
    study, _, _ = work(place, 4)
    trials = study.get_trials(deepcopy=False)
    assert counted(study)[Fate.DONE] == 4
    cut = [t for t in trials if t.state.name == "FAIL" and t.params]  # the other worker may have been about to draw
    assert cut
    for trial in cut:
        again = next(t for t in trials if t.user_attrs.get(retry.RETRY_OF) == trial.number)
        assert again.user_attrs[retry.KILLS] == 0
        assert again.params == trial.params


def test_workers_end_when_who_started_them_is_killed(bench: Any) -> None:
    bench.plan(all="hang")
    bench.study()
    process = elsewhere(bench.job(2))
    try:
        until(lambda: len(list(bench.root.glob("hangs-*"))) == 2 or process.poll() is not None, "two trials hang")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    study = bench.study()
    owners = [t.user_attrs[retry.OWNER]["pid"] for t in study.get_trials(deepcopy=False)]
    try:
        until(lambda: all(map(is_gone, owners)), "the workers have ended")
    finally:
        for pid in owners:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
    bench.plan()
    study, _, _ = work(bench, 2)
    assert counted(study) == {Fate.DONE: 2, Fate.LOST: 2}
    assert [t.user_attrs.get(retry.INTERRUPTED) for t in study.get_trials()[:2]] == [True, True]


def test_two_machines_share_a_study_and_make_no_trial_too_many(bench: Any, postgres: str) -> None:
    near = replace(bench, about=Subject("short-1111111111", bench.about.basis)).at(postgres)
    far_root = bench.root.with_name("far")
    far_root.mkdir()
    far = replace(near, root=far_root, place=replace(near.place, folder=far_root / ".kumulus/tune"))
    far.plan()
    near.study()
    process = elsewhere(far.job(9))
    try:
        study, _, told = work(near, 9)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert counted(study) == {Fate.DONE: 9}
    assert told[-1].done == 9
    calls = [(root / "calls").read_text().count("call") if (root / "calls").exists() else 0
             for root in (near.root, far_root)]
    assert sum(calls) == 9


def test_a_worker_refuses_edited_code(bench: Any) -> None:
    study = bench.study()
    job = replace(bench.job(2), code={"dvc.yaml": "0" * 64})
    with pytest.raises(ModelError, match=r"code must stay as it is while a study runs: dvc.yaml has changed"), \
            Crew(job, study, 1, 1, lambda _: None, 0.1) as crew:
        crew.work(lambda _: None)


def test_a_wrong_password_is_not_repeated(bench: Any, postgres: str) -> None:
    wrong = postgres.replace("s3cret", "wr0ng")
    other = bench.at(wrong)
    with pytest.raises(Exception, match=r"the study's database at postgresql://127\.0\.0\.1:\d+/postgres must answer"
                       ) as caught:
        other.study()
    assert "wr0ng" not in str(caught.value)
    assert "kumulus:" not in str(caught.value)
    assert "wr0ng" not in repr(other.job(1))
    assert "wr0ng" not in repr(other.place)


def test_time_left_is_that_of_the_others_at_the_mean_duration(bench: Any) -> None:
    import datetime

    import optuna

    start = datetime.datetime(2026, 1, 1)
    trials = []
    for number, seconds in enumerate((60, 120)):
        trial = optuna.create_trial(value=0.5 + number, params={}, distributions={})
        trial.number, trial.datetime_start = number, start
        trial.datetime_complete = start + datetime.timedelta(seconds=seconds)
        trials.append(trial)
    now = progress(trials, total=8, workers=2)  # six left, two at a time, 90 s each
    assert (now.left_s, now.best, now.best_trial) == (270.0, 1.5, 1)
    assert progress([], 8, 2).left_s is None


def test_threads_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [threads_of(workers, 4) for workers in (1, 2, 3, 16)] == [4, 4, 2, 1]
