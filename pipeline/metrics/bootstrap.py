"""Percentile intervals by resampling blocks, and paired differences on the same resampled blocks.

Pixels of a block are not independent, so blocks are drawn, with replacement, as many as there are (Efron &
Tibshirani 1993, ch. 13; blocks of the scene as in Roberts et al. 2017). A draw is a vector of how often each
block came up, so that all resamples are one matrix product with the blocks' counts. With fewer than two
blocks there is no interval (NaN). Resamples in which a score is 0/0 do not enter its percentiles, and an estimate says
in what share of them it was defined: a class that one block of eight has is in about 65 % of the draws.

Shape legend: R resamples, B blocks, K classes, N objects.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.metrics.confusion import Confusion, merge_all
from pipeline.metrics.scores import ScoreArray, flat_scores
from pipeline.types import AnyArray

#: Resampled counts are worked off in chunks of about this many numbers.
_CHUNK = 8_000_000


@dataclass(frozen=True)
class Estimate:
    """A score and its two-sided interval; NaN where it is not defined.

    `defined` is the share of the resamples in which the score is (0 to 1); the interval knows no others.
    """

    value: float
    low: float
    high: float
    defined: float = 1.0

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Estimate":
        """From what `plain` gives; what is not there is NaN, or all defined."""
        numbers = {key: plain.get(key) for key in ("value", "low", "high")}
        return cls(**{key: float("nan") if number is None else float(number) for key, number in numbers.items()},
                   defined=float(plain.get("defined", 1.0)))

    def plain(self) -> dict[str, float | None]:
        """{value, low, high}, NaN as None; `defined` too, where it is below 1."""
        found = {key: None if math.isnan(number) else number for key, number in vars(self).items()}
        if self.defined == 1:
            del found["defined"]
        return found

    @property
    def gap(self) -> str:
        """`undefined in 35 % of the resamples`, "" where there are none such."""
        return f"undefined in {100 * (1 - self.defined):.3g} % of the resamples" if self.defined < 1 else ""


@dataclass(frozen=True)
class Resamples:
    """One fixed set of draws of blocks; use it for every method, so that differences are paired."""

    blocks: tuple[int, ...]
    weights_RB: npt.NDArray[np.float64]
    confidence: float

    @classmethod
    def draw(cls, blocks: Sequence[int], resamples: int, confidence: float,
             rng: np.random.Generator) -> "Resamples":
        """Draw each resample's multiplicities from the multinomial with equal chances."""
        n = len(blocks)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples) if n else np.zeros((resamples, 0))
        return cls(tuple(blocks), weights.astype(np.float64), confidence)

    def totals(self, counts_B: AnyArray) -> AnyArray:
        """Resampled sums of counts of shape B... (in the order of `blocks`), float64 of shape R...."""
        flat = counts_B.reshape(len(self.blocks), -1).astype(np.float64)
        return (self.weights_RB @ flat).reshape(len(self.weights_RB), *counts_B.shape[1:])

    def interval(self, value: float, values_R: ScoreArray) -> Estimate:
        """The point value with the percentiles of its resampled values, as far as these are defined."""
        if len(self.blocks) < 2 or np.isnan(value):
            return Estimate(value, float("nan"), float("nan"))
        known = values_R[~np.isnan(values_R)]
        if known.size == 0:
            return Estimate(value, float("nan"), float("nan"), 0.0)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Estimate(value, float(low), float(high), known.size / values_R.size)


@dataclass(frozen=True)
class Sampled:
    """All scores of one method by flat name: the point values, and one value a resample."""

    points: Mapping[str, float]
    draws: Mapping[str, ScoreArray]


def sample_scores(per_block: Mapping[int, Confusion], classes: Sequence[str],
                  resamples: Resamples) -> Sampled:
    """Score one method on all blocks and on every resample; a block without counted pixels is empty."""
    k = len(classes)
    counts_BKK = np.zeros((len(resamples.blocks), k, k), dtype=np.int64)
    for i, block in enumerate(resamples.blocks):
        if block in per_block:
            counts_BKK[i] = per_block[block].matrix
    points = flat_scores(merge_all(per_block.values(), k).matrix, classes)
    step = max(1, _CHUNK // (k * k))
    chunks = [flat_scores(Resamples(resamples.blocks, part, resamples.confidence).totals(counts_BKK), classes)
              for part in np.split(resamples.weights_RB, range(step, len(resamples.weights_RB), step))]
    return Sampled({name: float(value) for name, value in points.items()},
                   {name: np.concatenate([chunk[name] for chunk in chunks]) for name in points})


def estimates(sampled: Sampled, resamples: Resamples) -> dict[str, Estimate]:
    """Every score of a method with its interval, by flat name."""
    return {name: resamples.interval(value, sampled.draws[name]) for name, value in sampled.points.items()}


def differences(first: Sampled, second: Sampled, resamples: Resamples) -> dict[str, Estimate]:
    """Every score of `first` minus that of `second` with its paired interval, by flat name.

    Both must have been sampled on `resamples`; a difference is NaN where either score is.
    """
    return {name: resamples.interval(value - second.points[name], first.draws[name] - second.draws[name])
            for name, value in first.points.items()}


def share(hits_N: AnyArray, place_N: AnyArray, resamples: int, confidence: float,
          rng: np.random.Generator) -> Estimate:
    """Mean of 0/1 (or of differences of 0/1, for two methods on the same objects), resampling places with all in them.

    Objects of one place, and one object on several dates, are not independent; with fewer than two places there is no
    interval. Each resample's mean is over the objects it drew.

    Args:
        hits_N: 0/1, or -1/0/1.
        place_N: place of each.
        resamples: number of resamples.
        confidence: coverage of the interval.
        rng: source of the draws.
    """
    if hits_N.shape[0] == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    places, index = np.unique(place_N, return_inverse=True)
    drawn = Resamples.draw(places.tolist(), resamples, confidence, rng)
    hits = drawn.totals(np.bincount(index, hits_N, len(places)))
    return drawn.interval(float(hits_N.mean()), hits / drawn.totals(np.bincount(index)))
