"""What has become of the trials of a study."""

from typing import Any

from pipeline.tuning import retry
from pipeline.tuning.retry import Fate
from tests.unit.tuning.waiting import until


def fates(study: Any) -> list[Fate]:
    """What has become of a study's trials, in their order."""
    return list(retry.fates(study.get_trials(deepcopy=False)).values())


def until_given_up(study: Any, place: Any) -> None:
    """Wait until the only trial, whose worker's heartbeat has stopped, is taken for lost."""

    def given_up() -> bool:
        retry.reclaim(study, place)
        return fates(study) != [Fate.RUNNING]

    until(given_up, "the trial is given up")
    assert fates(study) == [Fate.LOST, Fate.WAITING]
