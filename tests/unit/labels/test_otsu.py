"""Otsu's threshold over a histogram is that of all values."""

import numpy as np
import pytest

from pipeline.labels.otsu import Histogram
from pipeline.types import AnyArray


def by_hand(values: AnyArray) -> float:
    """The best of all cuts between neighbouring values, by the variance between classes."""
    ordered = np.sort(values.astype(np.float64))
    n = len(ordered)
    scores = [k * (n - k) * (ordered[k:].mean() - ordered[:k].mean()) ** 2 for k in range(1, n)]
    k = int(np.argmax(scores)) + 1
    return float(ordered[k - 1] + ordered[k]) / 2


@pytest.mark.parametrize(("low", "high"), [(-0.4, 0.3), (0.1, 0.11), (-2000.0, 50.0)])
def test_the_threshold_of_all_values_whatever_their_range(low: float, high: float) -> None:
    rng = np.random.default_rng(4)
    spread = (high - low) / 8
    values = np.concatenate([rng.normal(low, spread, 700), rng.normal(high, spread, 300)]).astype(np.float32)
    histogram = Histogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    assert histogram.threshold() == pytest.approx(by_hand(values), abs=spread / 10)


def test_two_values_are_cut_midway_and_nan_does_not_count() -> None:
    histogram = Histogram()
    histogram.add(np.array([[0.25, np.nan, 0.25], [-0.5, np.inf, -np.inf]], dtype=np.float32))
    assert histogram.threshold() == -0.125


@pytest.mark.parametrize("values", [[], [np.nan], [0.5, 0.5], [0.0, -0.0]])
def test_fewer_than_two_values_have_no_threshold(values: list[float]) -> None:
    histogram = Histogram()
    histogram.add(np.array(values, dtype=np.float32))
    assert histogram.threshold() is None
