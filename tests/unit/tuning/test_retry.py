"""What has become of trials, and what `reclaim` makes of those whose worker is gone."""

import os
import socket
from typing import Any

import optuna
import pytest

from pipeline.tuning import retry
from pipeline.tuning.retry import Fate
from pipeline.tuning.storage import held
from pipeline.tuning.study import DEFAULT
from pipeline.tuning.worker import EPOCHS, FOLD_SCORES, THREADS
from tests.unit.tuning.trials import fates, until_given_up

DISTRIBUTIONS = {"x": optuna.distributions.FloatDistribution(0, 1)}


def begun(bench: Any, worker: str | None, host: str = "") -> tuple[Any, Any]:
    """A study with one running trial, signed by that worker, or by none."""
    study = optuna.create_study(study_name="hand", storage=bench.place.open("hand"), direction="maximize",
                                load_if_exists=True)
    trial = study.ask(DISTRIBUTIONS)
    if worker is not None:
        trial.set_user_attr(retry.OWNER, retry.owner(worker, os.getpid()) | ({"host": host} if host else {}))
    return study, trial


def test_a_trial_of_a_living_worker_is_left_alone(bench: Any) -> None:
    study, _ = begun(bench, "one")
    with held(bench.place.lock_of("one")):
        retry.reclaim(study, bench.place)
        assert fates(study) == [Fate.RUNNING]
        retry.reclaim(study, bench.place, dead={"one"})  # who started it has seen it end
    assert fates(study) == [Fate.LOST, Fate.WAITING]


def test_a_trial_of_a_dead_worker_is_queued_again_once(bench: Any) -> None:
    study, trial = begun(bench, "one")
    bench.place.lock_of("one").parent.mkdir(parents=True)
    bench.place.lock_of("one").touch()
    for _ in range(2):
        retry.reclaim(study, bench.place)
        assert fates(study) == [Fate.LOST, Fate.WAITING]
    again = study.ask(DISTRIBUTIONS)
    assert again.number == 1
    assert again.params == trial.params
    assert again.user_attrs == {retry.RETRY_OF: 0, retry.KILLS: 1}


def test_a_trial_that_nobody_signed_was_cut_off_within_a_claim(bench: Any) -> None:
    study, _ = begun(bench, None)
    retry.reclaim(study, bench.place)
    assert fates(study) == [Fate.LOST, Fate.WAITING]


def test_of_workers_on_another_machine_a_journal_knows_nothing(bench: Any) -> None:
    study, _ = begun(bench, "one", host=f"not-{socket.gethostname()}")
    retry.reclaim(study, bench.place)
    assert fates(study) == [Fate.RUNNING]


def test_a_trial_cut_off_before_it_was_signed_does_not_count_against_its_values(bench: Any) -> None:
    study, _ = begun(bench, None)
    retry.reclaim(study, bench.place)
    assert study.get_trials()[1].user_attrs == {retry.RETRY_OF: 0, retry.KILLS: 0}


def test_values_enqueued_but_not_yet_drawn_are_kept(bench: Any) -> None:
    study = optuna.create_study(study_name="hand", storage=bench.place.open("hand"), direction="maximize")
    study.enqueue_trial({"x": 0.25}, user_attrs={"default": True})
    study.ask()
    retry.reclaim(study, bench.place)
    again = study.ask(DISTRIBUTIONS)
    assert (again.params, again.user_attrs["default"]) == ({"x": 0.25}, True)


def test_a_trial_cut_off_before_it_had_values_has_nothing_to_try_again(bench: Any) -> None:
    study = optuna.create_study(study_name="hand", storage=bench.place.open("hand"), direction="maximize")
    study.ask()
    retry.reclaim(study, bench.place)
    assert fates(study) == [Fate.LOST]
    assert retry.to_begin(study.get_trials(), 2) == 2


def test_a_reclaim_cut_off_half_way_is_finished_by_the_next(bench: Any) -> None:
    study, trial = begun(bench, "one")
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # failed, and not yet queued again
    assert fates(study) == [Fate.LOST]
    assert retry.to_begin(study.get_trials(), 1) == 1
    retry.reclaim(study, bench.place)
    assert fates(study) == [Fate.LOST, Fate.WAITING]


def test_what_takes_a_lost_ones_place_knows_nothing_of_its_attempt(bench: Any) -> None:
    study, trial = begun(bench, "one")
    for name, value in ((FOLD_SCORES, {"1": 0.5}), (EPOCHS, 3), (THREADS, "2"), (DEFAULT, True)):
        trial.set_user_attr(name, value)
    retry.reclaim(study, bench.place, dead={"one"})
    assert study.get_trials()[1].user_attrs == {DEFAULT: True, retry.RETRY_OF: 0, retry.KILLS: 1}


def test_only_lost_trials_with_values_that_are_not_queued_yet_are_asked_for(bench: Any) -> None:
    study, trial = begun(bench, "one")
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    assert [t.number for t in retry.unreplaced(study.get_trials())] == [0]
    retry.reclaim(study, bench.place)
    assert retry.unreplaced(study.get_trials()) == []
    study.tell(study.ask().number, 0.5)  # what took its place
    empty = study.ask()
    study.tell(empty.number, state=optuna.trial.TrialState.FAIL)
    assert fates(study) == [Fate.LOST, Fate.DONE, Fate.LOST]
    assert retry.unreplaced(study.get_trials()) == []


def test_a_trial_that_failed_for_a_reason_is_not_tried_again(bench: Any) -> None:
    study, trial = begun(bench, "one")
    trial.set_user_attr(retry.ERROR, "loss must be finite")
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    retry.reclaim(study, bench.place)
    assert fates(study) == [Fate.FAILED]
    assert retry.reason(study.get_trials()[0]) == "loss must be finite"


@pytest.mark.parametrize(("interrupted", "kills", "expected"), [
    (False, 2, [Fate.LOST, Fate.WAITING]), (False, 3, [Fate.FAILED]), (True, 3, [Fate.LOST, Fate.WAITING])])
def test_the_fourth_kill_is_the_last_and_interruptions_are_none(
    bench: Any, interrupted: bool, kills: int, expected: list[Fate]
) -> None:
    study, trial = begun(bench, "one")
    trial.set_user_attr(retry.KILLS, kills)
    if interrupted:
        trial.set_user_attr(retry.INTERRUPTED, True)
    retry.reclaim(study, bench.place, dead={"one"})
    assert fates(study) == expected
    if expected == [Fate.FAILED]:
        assert retry.reason(study.get_trials()[0]) == "its worker was killed 4 times"
    else:
        assert study.get_trials()[1].user_attrs[retry.KILLS] == (3 if not interrupted else kills)


def test_how_many_trials_are_to_begin(bench: Any) -> None:
    study, trial = begun(bench, "one")
    assert [retry.to_begin(study.get_trials(), total) for total in (1, 2, 5)] == [0, 1, 4]
    study.tell(trial.number, 0.5)
    assert retry.to_begin(study.get_trials(), 2) == 1
    begun(bench, "two")
    retry.reclaim(study, bench.place, dead={"two"})
    assert retry.to_begin(study.get_trials(), 1) == 1  # what takes the place of a lost one is begun in any case


def test_in_a_database_a_heartbeat_that_stopped_gives_a_trial_up(bench: Any, postgres: str) -> None:
    other = bench.at(postgres, grace_s=10)
    study = optuna.create_study(study_name="heart", storage=other.place.open("heart"), direction="maximize")
    beats = study._storage  # another machine's worker: it says once that it lives, and falls silent
    trial_id = beats.create_new_trial(study._study_id)
    beats.set_trial_user_attr(trial_id, retry.OWNER, retry.owner("far", 1) | {"host": "far away"})
    beats.set_trial_param(trial_id, "x", 0.5, DISTRIBUTIONS["x"])
    beats.record_heartbeat(trial_id)
    retry.reclaim(study, other.place)
    assert fates(study) == [Fate.RUNNING]
    until_given_up(study, other.place)
