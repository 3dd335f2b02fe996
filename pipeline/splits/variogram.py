"""Empirical semivariograms, and the range from the model that fits one better: exponential or spherical.

Semivariance of a lag: half the mean squared difference of pairs that far apart (Matheron 1963). The range is the
practical one: the lag at which the fitted curve has risen by 95 % from its nugget to its sill.

Shape legend: M pairs, L lags.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import curve_fit

FloatVector = npt.NDArray[np.float64]

_RISE = 0.95

#: Pairs that a lag needs, and beyond which more give it no more weight (they are not independent).
_LEAST_PAIRS, _ENOUGH_PAIRS = 30, 1000

#: Values are uncorrelated beyond a pixel where what lies above the nugget is less than this share of the sill, or where
#: the model fits no better than a constant by this much of chi-square (two more parameters; p < 0.001). A
#: semivariance of n pairs of Gaussian values varies by 2 / n of its square.
_LEAST_STRUCTURE, _LEAST_GAIN = 0.05, 14.0


@dataclass(frozen=True)
class Empirical:
    """Mean lag in metres, semivariance and number of pairs, each L."""

    lag_m: FloatVector
    semivariance: FloatVector
    pairs: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """A fitted curve. `length_m` is the exponential's scale times 3, or the spherical model's range."""

    model: str
    nugget: float
    sill: float
    length_m: float
    range_m: float

    def curve(self, lag_m: FloatVector) -> FloatVector:
        """Semivariance at lags in metres."""
        shape, _ = _MODELS[self.model]
        result: FloatVector = self.nugget + (self.sill - self.nugget) * shape(lag_m / max(self.length_m, 1e-9))
        return result


def _exponential(share: Any) -> Any:
    return 1 - np.exp(-3 * share)


def _spherical(share: Any) -> Any:
    h = np.minimum(share, 1)
    return 1.5 * h - 0.5 * h**3


#: Model -> its rise from 0 to 1 over lag / length, and the lag / length at which it reaches 95 %.
_MODELS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "exponential": (_exponential, -math.log(1 - _RISE) / 3), "spherical": (_spherical, 0.8110)}


def empirical(lag_m: FloatVector, difference: FloatVector, edges_m: FloatVector) -> Empirical:
    """Semivariances of M pairs by lag class; classes with fewer than 30 pairs are left out."""
    place = np.digitize(lag_m, edges_m) - 1
    inside = (place >= 0) & (place < len(edges_m) - 1)
    place, lag_m, difference = place[inside], lag_m[inside], difference[inside]
    pairs = np.bincount(place, minlength=len(edges_m) - 1)
    kept = pairs >= _LEAST_PAIRS
    lags = np.bincount(place, lag_m, len(edges_m) - 1)[kept] / pairs[kept]
    squares = np.bincount(place, difference**2, len(edges_m) - 1)[kept] / pairs[kept]
    return Empirical(lags, squares / 2, pairs[kept].astype(np.int64))


def fit(measured: Empirical, models: Sequence[str] = tuple(_MODELS)) -> Fit | None:
    """The better of the models by weighted least squares; None with fewer than four lags.

    Lengths up to ten times the longest lag are tried: a curve that does not level off within the lags gets such a
    one, which its `range_m` shows.
    """
    if len(measured.lag_m) < 4:
        return None
    top, longest = float(measured.semivariance.max()), float(measured.lag_m.max())
    if top <= 0:
        return Fit("exponential", 0.0, 0.0, 0.0, 0.0)
    sigma = 1 / np.sqrt(np.minimum(measured.pairs, _ENOUGH_PAIRS))
    constant = np.average(measured.semivariance, weights=sigma**-2)
    flat_error = float((((constant - measured.semivariance) / sigma) ** 2).sum())
    found: list[tuple[float, Fit]] = []
    for name in models:
        shape, reach = _MODELS[name]

        def curve(lag: Any, nugget: float, rise: float, length: float, shape: Any = shape) -> Any:
            return nugget + rise * shape(lag / length)

        for start in (0.1, 0.5):
            guess = (0.3 * top, 0.7 * top, start * longest)
            bounds = ([0, 0, float(measured.lag_m.min()) / 2], [2 * top, 10 * top, 10 * longest])
            values, _ = curve_fit(curve, measured.lag_m, measured.semivariance, guess, sigma, bounds=bounds)
            nugget, rise, length = (float(v) for v in values)
            error = float((((curve(measured.lag_m, *values) - measured.semivariance) / sigma) ** 2).sum())
            gain = (flat_error - error) / (2 * constant**2)
            flat = rise < _LEAST_STRUCTURE * (nugget + rise) or gain < _LEAST_GAIN
            found.append((error, Fit(name, nugget, nugget + rise, length, 0.0 if flat else reach * length)))
    return min(found, key=lambda pair: round(pair[0] / top**2, 9))[1]
