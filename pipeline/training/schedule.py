"""Learning rate as a pure function of the step and of past val scores, so that resuming needs no scheduler state."""

import math
from collections.abc import Sequence

from pipeline.params.optimizer import ScheduleParams


def rate_factor(schedule: ScheduleParams, step: int, steps_per_epoch: int, epochs: int,
                val_scores: Sequence[float]) -> float:
    """The factor, 0 to 1, on the base rate in a step (counted from 0 over the whole training).

    constant, cosine, restarts and poly begin with a linear warm-up.
    cosine: half a cosine to `floor` (Loshchilov & Hutter 2017, SGDR, eq. 5, without restarts).
    restarts: the same again and again, each cycle `restart_growth` times as long (SGDR, eq. 5 with T_0 and T_mult).
    poly: (1 - t / T)^power (Liu et al. 2015, ParseNet; Chen et al. 2017, DeepLab), down to `floor`.
    one_cycle: up to 1 and down to almost nothing, both along half cosines (Smith & Topin 2018, super-convergence).
    plateau: `factor` to the power of how often the val score has not improved for `patience` epochs.
    """
    if schedule.name == "plateau":
        return schedule.factor ** _plateaus(val_scores, schedule.patience)
    if schedule.name == "one_cycle":
        return _one_cycle(schedule, step, steps_per_epoch * epochs)
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    rest = max(1, epochs * steps_per_epoch - warmup)
    match schedule.name:
        case "constant":
            return 1.0
        case "cosine":
            left = _half_cosine((step - warmup) / rest)
        case "restarts":
            left = _half_cosine(_cycle_share(schedule, step - warmup, steps_per_epoch))
        case "poly":
            left = (1 - (step - warmup) / rest) ** schedule.power
    return schedule.floor + (1 - schedule.floor) * left if schedule.floor else left


def momentum(schedule: ScheduleParams, high: float, step: int, steps: int) -> float:
    """The momentum in a step of `steps`: `high`, but along one cycle, where it goes against the rate (Smith 2018)."""
    if not schedule.momentum_low:
        return high
    return high + (schedule.momentum_low - high) * _risen(schedule, step, steps)


def _half_cosine(share: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


def _cycle_share(schedule: ScheduleParams, step: int, steps_per_epoch: int) -> float:
    """How far the step is into its cycle, 0 to 1."""
    length = schedule.restart_epochs * steps_per_epoch
    while step >= length:
        step -= length
        length *= schedule.restart_growth
    return step / length


def _risen(schedule: ScheduleParams, step: int, steps: int) -> float:
    """How far one cycle has risen: from 0 to 1 in `rise` of the steps, then back to 0 with the last one."""
    top = max(schedule.rise * steps - 1, 0.0)
    if step <= top:
        return 1 - _half_cosine(step / top) if top else 1.0
    return _half_cosine((step - top) / (steps - 1 - top)) if steps - 1 > top else 0.0


def _one_cycle(schedule: ScheduleParams, step: int, steps: int) -> float:
    start = 1 / schedule.start_divisor
    low = start if step <= schedule.rise * steps - 1 else start / schedule.end_divisor
    return low + (1 - low) * _risen(schedule, step, steps)


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
