"""Texture of one band: grey-level co-occurrence in a window around each pixel (Haralick et al. 1973, IEEE SMC-3, 610).

For each of the angles 0, 45, 90 and 135 degrees the pairs of pixels at a distance inside the window are counted
symmetrically and normalized to P(i, j); a property is the mean over the angles that have a pair. Properties are as
skimage.feature.graycoprops defines them.

All running sums are integers (logarithms and reciprocals as fixed-point numbers), so a pixel's value does not depend on
where the walk began: any tiling gives the same bits. Moments come from box sums, at a cost that does not depend on
the window; counts of level pairs are updated by the pairs that enter and leave as the window moves along a row.

Shape legend: H rows, W columns, P properties.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np

from pipeline.params.task import TEXTURE_PROPERTIES, TextureParams
from pipeline.types import AnyArray, FloatArray

F = TypeVar("F", bound=Callable[..., Any])

#: Level of an invalid pixel.
_NONE = 255

#: Fixed-point numbers count in 1 / _ONE. A window of 63 px has N <= 7812 entries, and N ln N * _ONE < 2**61.
_ONE = 2**44


def _compiled(function: F) -> F:
    """The function as machine code, kept beside this file (or where numba keeps it) if that can be written."""
    try:
        return cast(F, numba.njit(cache=True)(function))
    except RuntimeError:  # nowhere to keep it: each process compiles anew
        return cast(F, numba.njit(function))


def texture(reflectance_HW: FloatArray, properties: Sequence[str], params: TextureParams) -> dict[str, FloatArray]:
    """Texture properties float32 HW of a band, from one walk over it.

    Windows reach as far as the image does. Pairs of which a pixel is NaN do not count. A result is NaN where its own
    pixel is, or no pair is left.

    Args:
        reflectance_HW: float32, NaN = invalid.
        properties: of contrast, homogeneity, energy (the root of the angular second moment), correlation (1 where the
            window has one level only) and entropy (natural logarithm).
        params: window, distance, levels and their bounds.

    Raises:
        ValueError: there is no such property.
    """
    if unknown := [name for name in properties if name not in TEXTURE_PROPERTIES]:
        raise ValueError(f"texture properties must be of {TEXTURE_PROPERTIES}: got {unknown}")
    window = params.window_px
    levels = _levels(reflectance_HW, window // 2, params.levels, params.low, params.high)
    places = np.array([properties.index(p) if p in properties else -1 for p in TEXTURE_PROPERTIES])
    sums = np.zeros((len(properties), *reflectance_HW.shape))
    angles = np.zeros(reflectance_HW.shape, dtype=np.uint8)
    reciprocals, entropies = _reciprocals(params.levels), _entropies(2 * window**2)
    for row_step, col_step in _steps(params.distance_px):
        _add_moments(levels, window, row_step, col_step, reciprocals, places, sums, angles)
        if {"energy", "entropy"} & set(properties):
            _add_counts(levels, window, row_step, col_step, params.levels, entropies, places, sums)
    angles[np.isnan(reflectance_HW)] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(angles > 0, sums / angles, np.nan)
    return {name: np.asarray(values, dtype=np.float32) for name, values in zip(properties, mean, strict=True)}


def _steps(distance: int) -> list[tuple[int, int]]:
    """Rows and columns from a pixel to its partner at 0, 45, 90 and 135 degrees, rounded as scikit-image does."""
    diagonal = round(distance * math.sqrt(0.5))
    return [(0, distance), (diagonal, diagonal), (distance, 0), (diagonal, -diagonal)]


def _reciprocals(levels: int) -> AnyArray:
    """1 / (1 + d**2) for differences d of levels, fixed-point int64."""
    return np.rint(_ONE / (1.0 + np.arange(levels) ** 2)).astype(np.int64)


def _entropies(largest: int) -> AnyArray:
    """Products c ln c for counts c from 0 to `largest`, fixed-point int64."""
    counts = np.arange(largest + 1, dtype=np.float64)
    return np.rint(counts * np.log(np.maximum(counts, 1.0)) * _ONE).astype(np.int64)


@_compiled
def _levels(reflectance_HW: AnyArray, radius: int, levels: int, low: float, high: float) -> AnyArray:
    """Levels uint8, _NONE where invalid and in a frame of `radius` pixels around the image."""
    height, width = reflectance_HW.shape
    result = np.full((height + 2 * radius, width + 2 * radius), _NONE, dtype=np.uint8)
    steps = levels / (high - low)
    for y in range(height):
        for x in range(width):
            value = reflectance_HW[y, x]
            if not np.isnan(value):
                level = np.floor((np.float64(value) - low) * steps)
                result[y + radius, x + radius] = np.uint8(min(max(level, 0.0), levels - 1.0))
    return result


@_compiled
def _add_moments(levels_HW: AnyArray, window: int, row_step: int, col_step: int, reciprocals: AnyArray,
                 places: AnyArray, sums_PHW: AnyArray, angles_HW: AnyArray) -> None:
    """Add contrast, homogeneity and correlation of one angle to `sums_PHW`; count the angle where it has a pair."""
    rows, cols = levels_HW.shape
    aside = abs(col_step)
    high, wide = window - row_step, window - aside  # pairs in a window, by the upper left corner of their box
    # Of the pairs in each column: number, sum of both levels, of their squares, of their product, of reciprocals.
    column = np.zeros((5, cols - aside), dtype=np.int64)
    total = np.zeros(5, dtype=np.int64)
    for bottom in range(rows - row_step):
        for enters in (True, False):
            row = bottom if enters else bottom - high
            if row < 0:
                continue
            sign = 1 if enters else -1
            for x in range(cols - aside):
                first = np.int64(levels_HW[row, x + (aside if col_step < 0 else 0)])
                second = np.int64(levels_HW[row + row_step, x + max(col_step, 0)])
                if first != _NONE and second != _NONE:
                    column[0, x] += sign
                    column[1, x] += sign * (first + second)
                    column[2, x] += sign * (first * first + second * second)
                    column[3, x] += sign * first * second
                    column[4, x] += sign * reciprocals[abs(first - second)]
        y = bottom - high + 1
        if y < 0:
            continue
        total[:] = 0
        for right in range(cols - aside):
            x = right - wide + 1
            for k in range(5):
                total[k] += column[k, right]
                if x > 0:
                    total[k] -= column[k, x - 1]
            if x < 0 or total[0] == 0:
                continue
            pairs, levels, squares, products = total[0], total[1], total[2], total[3]
            angles_HW[y, x] += 1
            if places[0] >= 0:
                sums_PHW[places[0], y, x] += (squares - 2 * products) / pairs
            if places[1] >= 0:
                sums_PHW[places[1], y, x] += total[4] / pairs / _ONE
            if places[3] >= 0:  # numerators of covariance and variance over the symmetric matrix, exact
                variance = 2 * pairs * squares - levels * levels
                covariance = 4 * pairs * products - levels * levels
                sums_PHW[places[3], y, x] += covariance / variance if variance > 0 else 1.0


@_compiled
def _add_counts(levels_HW: AnyArray, window: int, row_step: int, col_step: int, levels: int, entropies: AnyArray,
                places: AnyArray, sums_PHW: AnyArray) -> None:
    """Add energy and entropy of one angle to `sums_PHW`."""
    rows, cols = levels_HW.shape
    aside = abs(col_step)
    high, wide = window - row_step, window - aside
    # The cell of a pair, by difference and smaller level: below `levels` lies the diagonal; -1 is no pair.
    cells = np.empty((rows - row_step, cols - aside), dtype=np.int32)
    for y in range(rows - row_step):
        for x in range(cols - aside):
            first = np.int32(levels_HW[y, x + (aside if col_step < 0 else 0)])
            second = np.int32(levels_HW[y + row_step, x + max(col_step, 0)])
            known = first != _NONE and second != _NONE
            cells[y, x] = abs(first - second) * levels + min(first, second) if known else -1
    # What one pair more adds to the sums of squares and of c ln c: a cell off the diagonal stands for two entries of
    # c, one on the diagonal for one entry of 2 c.
    most = high * wide
    gains = np.empty((2, most), dtype=np.int64)
    for c in range(most):
        gains[0, c] = entropies[2 * c + 2] - entropies[2 * c]
        gains[1, c] = 2 * (entropies[c + 1] - entropies[c])
    count = np.empty(levels * levels, dtype=np.int32)
    for y in range(rows - row_step - high + 1):
        count[:] = 0
        pairs, squares, logs = 0, 0, 0
        for right in range(cols - aside):
            left = right - wide
            for row in range(y, y + high):
                entering = cells[row, right]
                leaving = cells[row, left] if left >= 0 else -1
                if entering == leaving:
                    continue
                if leaving >= 0:
                    c = count[leaving] - 1
                    count[leaving] = c
                    off = 1 if leaving >= levels else 0
                    pairs -= 1
                    squares -= (4 * c + 2) * (2 - off)
                    logs -= gains[off, c]
                if entering >= 0:
                    c = count[entering]
                    count[entering] = c + 1
                    off = 1 if entering >= levels else 0
                    pairs += 1
                    squares += (4 * c + 2) * (2 - off)
                    logs += gains[off, c]
            x = left + 1
            if x < 0 or pairs == 0:
                continue
            entries = 2 * pairs
            if places[2] >= 0:
                sums_PHW[places[2], y, x] += np.sqrt(squares) / entries
            if places[4] >= 0:
                sums_PHW[places[4], y, x] += (entropies[entries] - logs) / entries / _ONE
