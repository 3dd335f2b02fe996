"""Trials whose worker is gone are tried again with the same values: once for each time, at most three times.

A trial knows its worker. Who lives is said by a lock that dies with the worker's process (on this machine), by whoever
started it, and in a database by its heartbeat. A trial that ended without a score and without a reason was lost; what
takes its place points back to it. Both are found in the study alone, so `reclaim` can be cut off at any point and done
again, by anyone who holds the study's claim.
"""

import socket
import warnings
from collections.abc import Collection, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from pipeline.tuning.storage import Place, is_held
from pipeline.tuning.study import DEFAULT

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

#: How often the values of a trial are tried again after their worker was killed.
MOST_RETRIES = 3

#: Attributes of a trial: its worker; why it failed; that its worker was told to end, and was not killed; the trial
#: whose place it takes; how often its values had lost their worker before.
OWNER, ERROR, INTERRUPTED, RETRY_OF, KILLS = "owner", "error", "interrupted", "retry_of", "kills"


class Fate(Enum):
    """What has become of a trial. A lost one's values, where it had any, are queued again by the next `reclaim`."""

    DONE = "done"
    PRUNED = "pruned"
    FAILED = "failed"
    LOST = "lost"
    RUNNING = "running"
    WAITING = "waiting"


#: Fates of trials that are over and count.
OVER = (Fate.DONE, Fate.PRUNED, Fate.FAILED)


def owner(worker: str, pid: int) -> dict[str, Any]:
    """What a trial says of its worker."""
    return {"worker": worker, "host": socket.gethostname(), "pid": pid}


def fates(trials: Sequence["FrozenTrial"]) -> dict[int, Fate]:
    """What has become of each trial, by its number."""
    from optuna.trial import TrialState

    known = {TrialState.COMPLETE: Fate.DONE, TrialState.PRUNED: Fate.PRUNED, TrialState.RUNNING: Fate.RUNNING,
             TrialState.WAITING: Fate.WAITING}
    return {trial.number: known.get(trial.state) or (
        Fate.FAILED if ERROR in trial.user_attrs or kills(trial) > MOST_RETRIES else Fate.LOST) for trial in trials}


def kills(trial: "FrozenTrial") -> int:
    """How often the values of a trial that ended without a reason have lost their worker, this time included.

    Not included where the user interrupted it, or where it was cut off before it was signed.
    """
    own = OWNER in trial.user_attrs and not trial.user_attrs.get(INTERRUPTED, False)
    return int(trial.user_attrs.get(KILLS, 0)) + own


def has_values(trial: "FrozenTrial") -> bool:
    """Whether a trial has been given values; one that was cut off before has nothing that could be tried again."""
    return bool(trial.params) or "fixed_params" in trial.system_attrs


def to_begin(trials: Sequence["FrozenTrial"], total: int) -> int:
    """How many trials are neither over nor running, of `total`; what takes the place of a lost one always is begun."""
    found = fates(trials)
    begun = sum(fate in OVER or fate is Fate.RUNNING for fate in found.values())
    again = sum(found[trial.number] is Fate.WAITING and RETRY_OF in trial.user_attrs for trial in trials)
    return max(total - begun, again)


def unreplaced(trials: Sequence["FrozenTrial"]) -> list["FrozenTrial"]:
    """Lost trials whose values have not been queued again, and are to be."""
    found, replaced = fates(trials), {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return [trial for trial in trials
            if found[trial.number] is Fate.LOST and trial.number not in replaced and has_values(trial)]


def lost(trial: "FrozenTrial", place: Place, dead: Collection[str]) -> bool:
    """Whether a running trial's worker is known to be gone. Call it with the claim held.

    Args:
        trial: a running one.
        place: where the study is kept.
        dead: workers that are known to have ended.
    """
    found = trial.user_attrs.get(OWNER)
    if found is None:  # a claim covers taking a trial and signing it: nobody is between the two now
        return True
    if found["worker"] in dead:
        return True
    if found["host"] != socket.gethostname():
        return False
    file = place.lock_of(found["worker"])
    # A journal's locks are beside it; a database may be shared with another repository of this machine.
    return not is_held(file) if file.exists() or not place.url else False


def reclaim(study: "Study", place: Place, dead: Collection[str] = ()) -> None:
    """Mark trials whose worker is gone as failed, and queue their values again. Call it with the claim held.

    Args:
        study: the study.
        place: where it is kept.
        dead: workers that are known to have ended.
    """
    import optuna
    from optuna.trial import TrialState

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are, since 2021
        optuna.storages.fail_stale_trials(study)  # of a database: those whose heartbeat has stopped
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if lost(trial, place, dead):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    for trial in unreplaced(study.get_trials(deepcopy=False)):
        _queue_again(study, trial)


def _queue_again(study: "Study", trial: "FrozenTrial") -> None:
    """Queue a trial with the values of a lost one."""
    import optuna
    from optuna.trial import TrialState

    fixed = {k: v for k, v in trial.system_attrs.items() if k == "fixed_params"}  # what it had yet to be given
    kept = {k: v for k, v in trial.user_attrs.items() if k == DEFAULT}  # all else is about the lost attempt
    study.add_trial(optuna.create_trial(
        state=TrialState.WAITING, params=trial.params, distributions=trial.distributions, system_attrs=fixed,
        user_attrs={**kept, RETRY_OF: trial.number, KILLS: kills(trial)}))


def reason(trial: "FrozenTrial") -> str:
    """Why a trial failed."""
    return str(trial.user_attrs.get(ERROR) or f"its worker was killed {kills(trial)} times")
