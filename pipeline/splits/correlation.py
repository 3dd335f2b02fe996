"""How far the errors of a pixel model hang together, and the block size that follows.

A quick model is fitted to sampled labelled pixels and judged on ground it has not learnt from; its residuals
(1 - p of the true class) are what a network's errors will resemble. Blocks shorter than their correlation range leave
train and test dependent (Roberts et al. 2017, Ecography 40; Ploton et al. 2020, Nature Communications 11).

The model sees all ground, the later test part too. That is no leak: nothing of it but the length of a block's side
goes on, and blocks are dealt to parts by a draw that knows nothing of it.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.seeding import generator
from pipeline.splits.quick_model import cross_fitted_residuals
from pipeline.splits.sample import Sample, draw, image_values, look_up, positions_m
from pipeline.splits.variogram import Empirical, Fit, empirical, fit
from pipeline.types import IGNORE_INDEX, AnyArray

#: Sampled pixels, and tries for a partner of each at a drawn lag.
_ANCHORS, _TRIES = 3000, 6

#: The range's error comes from leaving out one of so many groups of anchors after the other.
_GROUPS = 8

#: Anchors of which all pairs are looked at, for the long lags.
_PAIRED = 1500
_LAGS = 20

#: Blocks are at least this many pixels, however short the range.
_LEAST_BLOCK_PX = 4


@dataclass(frozen=True)
class Correlation:
    """What was measured.

    Attributes:
        range_m: correlation range in metres; 0 where there is none beyond a pixel, None where there is no sill or
            nothing could be measured.
        error_m: its standard error by the jackknife (Efron & Tibshirani 1993, ch. 11); None where a range is missing.
        why: what happened, for people.
        reach_m: half the extent of the largest scene: a range beyond it is "no sill".
        measured: the empirical semivariogram, where there is one.
        fitted: the fitted model, where there is one.
        pixels: sampled pixels.
    """

    range_m: float | None
    why: str
    reach_m: float
    pixels: int
    measured: Empirical | None = None
    fitted: Fit | None = None
    error_m: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the certificate, rounded so that it does not depend on the last bits."""
        result: dict[str, Any] = {"range_m": None if self.range_m is None else round(self.range_m, 1),
                                  "range_error_m": None if self.error_m is None else _short(self.error_m),
                                  "why": self.why, "reach_m": round(self.reach_m, 1), "pixels": self.pixels,
                                  "semivariogram": None, "model": None}
        if self.measured is not None:
            result["semivariogram"] = {"lag_m": [round(float(v), 1) for v in self.measured.lag_m],
                                       "semivariance": [_short(v) for v in self.measured.semivariance],
                                       "pairs": [int(v) for v in self.measured.pairs]}
        if self.fitted is not None:
            result["model"] = {"name": self.fitted.model, "nugget": _short(self.fitted.nugget),
                               "sill": _short(self.fitted.sill), "length_m": round(self.fitted.length_m, 1)}
        return result


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def measure(store: SceneStore, seed: int) -> Correlation:
    """The correlation range of a quick model's residuals over a store's labelled pixels (at most 21,000)."""
    reach_m = max(_extent_m(scene.grid) for scene in store) / 2
    anchors, partners, of_anchor = _pairs_sample(store, reach_m, generator(seed, "correlation"))
    sample = anchors.join(partners)
    label = look_up(store, sample, lambda scene: scene.labels)
    xyz = positions_m([scene.grid for scene in store], sample)
    if len(anchors) < 100 or np.unique(label).size < 2:
        return Correlation(None, f"too little to measure: {len(anchors)} labelled pixels were drawn of "
                           f"{np.unique(label).size} classes", reach_m, len(sample))
    residual = cross_fitted_residuals(image_values(store, sample), label, xyz, seed)
    if residual is None:
        return Correlation(None, "too little to measure: half of the ground holds fewer than two classes", reach_m,
                           len(sample))
    anchor = np.concatenate([np.arange(len(anchors)), of_anchor])
    first, second = _pairs(sample, len(anchors), anchor)
    lag = np.linalg.norm(xyz[first] - xyz[second], axis=1)
    shortest = min(min(scene.grid.ground_pixel_m) for scene in store)
    edges = np.geomspace(0.9 * shortest, reach_m, _LAGS + 1)
    difference = residual[first] - residual[second]
    measured = empirical(lag, difference, edges)
    fitted = fit(measured)
    if fitted is None:
        return Correlation(None, "too little to measure: fewer than four lags have enough pairs", reach_m, len(sample),
                           measured)
    if fitted.range_m > reach_m:
        return Correlation(None, "no sill: semivariance still rises at half the scene's extent", reach_m, len(sample),
                           measured, fitted)
    if fitted.range_m == 0:
        return Correlation(0.0, "residuals show no correlation beyond a pixel", reach_m, len(sample), measured, fitted)
    groups = anchor[first] % _GROUPS, anchor[second] % _GROUPS
    without = [fit(empirical(lag[kept], difference[kept], edges), (fitted.model,))
               for kept in ((groups[0] != g) & (groups[1] != g) for g in range(_GROUPS))]
    return Correlation(fitted.range_m, "95 % of the sill", reach_m, len(sample), measured, fitted, _jackknife(without))


def _jackknife(fits: Sequence[Fit | None]) -> float | None:
    ranges = np.array([f.range_m for f in fits if f is not None])
    if len(ranges) < len(fits):
        return None
    return float(np.sqrt((len(fits) - 1) * ranges.var()))


def _extent_m(grid: Any) -> float:
    """Side of the square of a grid's area, in metres."""
    width, height = grid.ground_pixel_m
    return math.sqrt(width * grid.width * height * grid.height)


def _pairs_sample(store: SceneStore, reach_m: float,
                  rng: np.random.Generator) -> tuple[Sample, Sample, npt.NDArray[np.intp]]:
    """Labelled pixels, labelled partners of theirs at log-uniform lags up to `reach_m`, and whose partner each is."""
    anchors = draw(store, lambda scene, s: (scene.labels[s] != IGNORE_INDEX) & (scene.valid[s] > 0), _ANCHORS, rng)
    pixel_m = np.array([scene.grid.ground_pixel_m[::-1] for scene in store])[anchors.scene]
    shape = np.array([scene.grid.shape for scene in store])[anchors.scene]
    found, whose = [], []
    for _ in range(_TRIES):
        shortest = pixel_m.min(initial=np.inf)
        lag = shortest * np.exp(rng.random(len(anchors)) * math.log(max(reach_m / shortest, 1))) if len(anchors) else 0
        angle = rng.random(len(anchors)) * 2 * np.pi
        row = np.rint(anchors.row + lag * np.sin(angle) / pixel_m[:, 0]).astype(np.intp)
        col = np.rint(anchors.col + lag * np.cos(angle) / pixel_m[:, 1]).astype(np.intp)
        inside = (row >= 0) & (row < shape[:, 0]) & (col >= 0) & (col < shape[:, 1])
        there = Sample(anchors.scene[inside], row[inside], col[inside])
        known = look_up(store, there, lambda scene: scene.labels) != IGNORE_INDEX
        known &= look_up(store, there, lambda scene: scene.valid) > 0
        found.append(there.take(known))
        whose.append(np.flatnonzero(inside)[known])
    partners = found[0]
    for more in found[1:]:
        partners = partners.join(more)
    return anchors, partners, np.concatenate(whose)


def _pairs(sample: Sample, anchors: int, anchor: npt.NDArray[np.intp]) -> tuple[AnyArray, AnyArray]:
    """All pairs of an anchor and its partners, and of anchors (evenly chosen) within a scene.

    Args:
        sample: the anchors and then their partners.
        anchors: number of anchors.
        anchor: the anchor of each pixel of the sample.
    """
    order = np.argsort(anchor, kind="stable")
    clusters = [(order[:-k], order[k:]) for k in range(1, _TRIES + 1)]
    clusters = [(i[anchor[i] == anchor[j]], j[anchor[i] == anchor[j]]) for i, j in clusters]
    chosen = np.linspace(0, anchors - 1, min(anchors, _PAIRED)).astype(np.intp)
    i, j = np.triu_indices(len(chosen), 1)
    first, second = chosen[i], chosen[j]
    same = sample.scene[first] == sample.scene[second]
    return (np.concatenate([*(i for i, _ in clusters), first[same]]),
            np.concatenate([*(j for _, j in clusters), second[same]]))


def with_block_size(params: SplitParams, correlation: Correlation, store: SceneStore) -> SplitParams:
    """The rules with a number as block size: for `auto`, the range in whole pixels; warns of shorter blocks.

    Raises:
        SplitError: `auto`, but there is no range, or one of 0.
    """
    if params.block_size_m == "auto":
        if not correlation.range_m:
            raise SplitError("spatial_split.block_size_m: auto must find a correlation range of the residuals beyond a "
                             f"pixel and within half the scene ({correlation.reach_m:.0f} m): {correlation.why}; give "
                             "a number of metres")
        return params.model_copy(update={"block_size_m": _whole_pixels(params, correlation.range_m, store)})
    if correlation.range_m is None and correlation.why.startswith("no sill"):
        warnings.warn("spatial_split.block_size_m should be longer than the correlation range of a pixel model's "
                      f"residuals: {correlation.why}, so neighbouring train and test blocks depend on each other "
                      "however large they are", stacklevel=2)
    elif correlation.range_m is not None and params.block_m < correlation.range_m:
        error = "" if correlation.error_m is None else f" +- {correlation.error_m:.0f}"
        warnings.warn(f"spatial_split.block_size_m={params.block_m:g} is shorter than the correlation range of a pixel "
                      f"model's residuals, {correlation.range_m:.0f}{error} m: val and test scores will flatter; make "
                      "blocks longer, or set auto", stacklevel=2)
    return params


def _whole_pixels(params: SplitParams, range_m: float, store: SceneStore) -> float:
    pixel_m = max(max(scene.grid.ground_pixel_m) for scene in store)
    least = max(range_m, _LEAST_BLOCK_PX * pixel_m, 2 * params.buffer_m + pixel_m)
    return round(math.ceil(least / pixel_m - 1e-6) * pixel_m, 3)
