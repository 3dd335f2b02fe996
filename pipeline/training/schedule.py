"""Learning rate as a pure function of the step and of past val scores, so that resuming needs no scheduler state."""

import math
from collections.abc import Sequence

from pipeline.params.optimizer import ScheduleParams


def rate_factor(schedule: ScheduleParams, step: int, steps_per_epoch: int, epochs: int,
                val_scores: Sequence[float]) -> float:
    """The factor, 0 to 1, on the base rate in a step (counted from 0 over the whole training).

    cosine: linear warm-up, then half a cosine to 0 (Loshchilov & Hutter 2017, SGDR, eq. 5, without restarts).
    plateau: `factor` to the power of how often the val score has not improved for `patience` epochs.
    """
    if schedule.name == "plateau":
        return schedule.factor ** _plateaus(val_scores, schedule.patience)
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    if schedule.name == "constant":
        return 1.0
    rest = max(1, epochs * steps_per_epoch - warmup)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / rest))


def _plateaus(scores: Sequence[float], patience: int) -> int:
    best, waited, count = -math.inf, 0, 0
    for score in scores:
        if score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited == patience:
            count, waited = count + 1, 0
    return count


def stale_epochs(scores: Sequence[float]) -> int:
    """Epochs since the best val score (NaN never counts as better)."""
    best, at = -math.inf, -1
    for i, score in enumerate(scores):
        if score > best:
            best, at = score, i
    return len(scores) - 1 - at
