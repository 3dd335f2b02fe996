"""Gates: whether a score keeps its target, judged by the limit of its interval that is worse for it.

A rule with >= or > asks the lower limit, one with <= or < the upper one: with two-sided intervals of 95 % a gate holds
where 97.5 % of the resamples in which the score is defined keep the rule. A score that is undefined, in all or in more
than 2.5 % of the resamples, or has no interval holds no gate: an interval that knows only a part of the draws is
narrower than what it stands for, down to no width for a class in one block.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.metrics.bootstrap import Estimate
from pipeline.params.targets import Target

#: Of a share of the resamples: less is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Gate:
    """A target as it was judged; `reason` says why it does not hold, "" where it does."""

    target: Target
    estimate: Estimate
    reason: str

    @property
    def held(self) -> bool:
        """Whether the target is kept."""
        return not self.reason

    @property
    def text(self) -> str:
        """In one line, such as `water.iou >= 0.5 holds: 0.610 (0.550 to 0.670)`."""
        said = f"is missed: {self.reason}" if self.reason else f"holds: {shown(self.target, self.estimate)}"
        return f"{self.target.name} {self.target.rule} {said}"


def judge(target: Target, estimate: Estimate, confidence: float) -> Gate:
    """Hold a score against its target.

    Args:
        target: the rule.
        estimate: the score with its interval, NaN where it has none.
        confidence: coverage of the interval.
    """
    tail = (1 - confidence) / 2
    if math.isnan(estimate.value):
        return Gate(target, estimate, "the score is undefined (0/0) on the scored ground")
    if 1 - estimate.defined > tail + _ROUNDING:
        return Gate(target, estimate, f"{estimate.value:.3f} is {estimate.gap}, as too few blocks have what it takes; "
                                      f"a gate allows {100 * tail:.3g} %")
    side, limit = ("lower", estimate.low) if target.from_below else ("upper", estimate.high)
    if math.isnan(limit):
        return Gate(target, estimate, "the score has no interval, which takes two blocks or more")
    if target.keeps(limit):
        return Gate(target, estimate, "")
    return Gate(target, estimate, f"{shown(target, estimate)}, of which the {side} limit counts")


def judge_all(targets: Iterable[Target], estimate_of: Callable[[Target], Estimate],
              confidence: float) -> tuple[Gate, ...]:
    """Judge targets in their order by what `estimate_of` knows of each score."""
    return tuple(judge(target, estimate_of(target), confidence) for target in targets)


def shown(target: Target, estimate: Estimate) -> str:
    """Value and interval in three decimals, or in as many as tell its limits from the target's number; counts as such.

    Args:
        target: which score it is.
        estimate: defined, with an interval.
    """
    limits = [limit for limit in (estimate.low, estimate.high) if limit != target.threshold]
    decimals = next((n for n in range(3, 16) if all(round(limit, n) != target.threshold for limit in limits)), 16)
    form = ".12g" if target.score == "false" else f".{decimals}f"
    gap = f"; {estimate.gap}" if estimate.gap else ""
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}}{gap})"
