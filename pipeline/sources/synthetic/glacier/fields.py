"""Smooth random fields, and the smooth joining of coarse grids to fine ones, by uniform cubic B-splines.

Everything is float64 and summed in a fixed order (sparse products, no BLAS), so that no result depends on threads.
"""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

FloatArray = npt.NDArray[np.float64]

#: Mean sum of squares of the four B-splines at a place: in two directions, the deviation of unit normal knots.
_SPLINE_POWER = 0.4794


def spline_matrix(count: int, places: FloatArray) -> csr_array:
    """Values of `count` cubic B-splines at places in 1..count-2 (de Boor 2001, uniform knots), N x count."""
    left = np.floor(places).astype(np.int64)
    t = places - left
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    columns = np.clip(left[:, None] + np.arange(-1, 3), 0, count - 1)
    rows = np.repeat(np.arange(len(places)), 4)
    return csr_array((weights.ravel(), (rows, columns.ravel())), shape=(len(places), count))


def smooth_field(rng: np.random.Generator, size: int, scale_px: float) -> FloatArray:
    """A field of zero mean and unit deviation that varies over `scale_px`, size x size."""
    count = int(np.ceil(size / scale_px)) + 4
    knots = rng.standard_normal((count, count))
    start = rng.random(2)
    steps = np.arange(size) / scale_px + 1
    down, right = spline_matrix(count, steps + start[0]), spline_matrix(count, steps + start[1])
    return np.asarray((right @ (down @ knots).T).T / _SPLINE_POWER, dtype=np.float64)


def fractal_field(rng: np.random.Generator, size: int, scale_px: float, octaves: int, gain: float = 0.5) -> FloatArray:
    """Fields of halving scale and falling weight, summed; about zero mean and unit deviation."""
    weights = gain ** np.arange(octaves)
    total = np.zeros((size, size))
    for octave, weight in enumerate(weights):
        total += weight * smooth_field(rng, size, max(1.0, scale_px / 2**octave))
    return np.asarray(total / np.sqrt((weights**2).sum()), dtype=np.float64)


def refine(coarse: FloatArray, factor: int) -> FloatArray:
    """A coarse square grid at `factor` times the resolution, smooth and slightly smoothed."""
    count = coarse.shape[0]
    places = np.clip((np.arange(count * factor) + 0.5) / factor - 0.5, 0, count - 1) + 2
    matrix = spline_matrix(count + 4, places)
    padded = np.pad(coarse, 2, mode="edge")
    return np.asarray((matrix @ (matrix @ padded).T).T, dtype=np.float64)
