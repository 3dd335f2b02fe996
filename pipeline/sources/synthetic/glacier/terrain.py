"""Mountains with valleys: rough uplifted ground, cut by rivers until it drains, then roughened.

Rivers cut by the stream power law dh/dt = U - K A^m S, solved implicitly from the outlets upwards (Braun and Willett
2013, Geomorphology 180, 170); slopes beyond the angle at which rock stands slide down.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.seeding import generator
from pipeline.sources.synthetic.glacier.drainage import Drainage, drain
from pipeline.sources.synthetic.glacier.fields import FloatArray, fractal_field, refine, smooth_field

PIXEL_M = 30.0
#: Ground is shaped on cells of this many pixels.
FACTOR = 4
CELL_M = PIXEL_M * FACTOR
#: Pixels around an image that are shaped with it, so that ice, water and shadows come in from outside.
MARGIN_PX = 64

_STEPS = 22
_STEEPEST = 0.95
_EXPONENT = 0.45
#: Share of a smoothed surface mixed in at each step: soil and scree creep, ice widens.
_CREEP = 0.45


@dataclass(frozen=True)
class Terrain:
    """Ground without ice.

    `coarse` (cells of 120 m) with its drainage; `bed` (30 m, margin included); `floor`, how far a pixel is valley
    floor, 0 to 1; all heights in metres above the sea.
    """

    coarse: FloatArray
    drainage: Drainage
    bed: FloatArray
    floor: FloatArray


def make_terrain(seed: int, image: int, size_px: int) -> Terrain:
    """The terrain of one image: `size_px` pixels and a margin on each side."""
    rng = generator(seed, "glacier", image, "terrain")
    cells = (size_px + 2 * MARGIN_PX) // FACTOR
    outlets = _outlets(rng, cells)
    coarse = _erode(rng, cells, outlets)
    drainage = drain(coarse, outlets)
    low, high = np.percentile(coarse, (2, 99))
    relief, foot = rng.uniform(1700, 2300), rng.uniform(3000, 3500)
    coarse = foot + (coarse - low) / (high - low) * relief
    floor = spread_surface(coarse, np.where(drainage.gather(np.ones_like(coarse)) > 90, 12.0, np.nan), 2.2)
    floor = np.where(np.isfinite(floor), floor, -np.inf)
    flat = np.clip((floor - coarse) / 60 + 0.3, 0, 1)
    coarse = np.maximum(coarse, floor)
    drainage = drain(coarse, outlets)
    bed = refine(coarse, FACTOR)
    on_floor = np.clip(refine(flat.astype(np.float64), FACTOR), 0, 1)
    steep = np.clip(slope_of(bed) / 0.7, 0.15, 1.2) * (1 - 0.9 * on_floor)
    size = bed.shape[0]
    ridged = 1 - np.abs(fractal_field(rng, size, 22, 3, 0.55))
    bed = bed + steep * (30 * ridged + 7 * fractal_field(rng, size, 6, 2, 0.6))
    return Terrain(coarse, drainage, np.asarray(bed), on_floor)


def slope_of(height_m: FloatArray, step_m: float = PIXEL_M) -> FloatArray:
    """Steepness of heights as rise over run."""
    down, right = np.gradient(height_m, step_m)
    return np.asarray(np.hypot(down, right))


def spread_surface(ground: FloatArray, depth: FloatArray, sigma: float) -> FloatArray:
    """The surface of what lies `depth` deep on some cells (NaN elsewhere), led sideways; NaN far from any of them."""
    there = np.isfinite(depth)
    surface = np.where(there, ground + np.where(there, depth, 0), 0.0)
    weight = ndimage.gaussian_filter(there.astype(np.float64), sigma, truncate=3.0)
    level = ndimage.gaussian_filter(surface, sigma, truncate=3.0)
    near = weight > 0.004
    return np.asarray(np.where(near, level / np.where(near, weight, 1), np.nan))


def _outlets(rng: np.random.Generator, cells: int) -> np.ndarray:
    """A few cells of the border at which all water leaves."""
    border = np.concatenate([np.arange(cells), np.arange(cells) * cells + cells - 1,
                             cells * cells - 1 - np.arange(cells), np.arange(cells)[::-1] * cells])
    count = int(rng.integers(3, 6))
    places = (np.arange(count) + rng.uniform(0.15, 0.85, count)) / count + rng.random()
    return np.unique(border[((places % 1) * len(border)).astype(np.int64)])


def _erode(rng: np.random.Generator, cells: int, outlets: np.ndarray) -> FloatArray:
    """Uplift and erosion until valleys reach everywhere; heights in metres above the outlets."""
    height = 700 * fractal_field(rng, cells, 40, 6, 0.6)
    height -= height.min()
    uplift = 300 * np.exp(0.35 * smooth_field(rng, cells, 45))
    hard = np.exp(0.45 * fractal_field(rng, cells, 24, 3))
    drainage = drain(height, outlets)
    for _ in range(_STEPS):
        height = height + uplift
        height.ravel()[outlets] = 0.0
        area = drainage.gather(np.ones_like(height)).ravel()
        power = (1.5 * area**_EXPONENT) / hard.ravel()
        flat = height.ravel()
        for cell, below in drainage.upwards():
            cut = (flat[cell] + power[cell] * flat[below]) / (1 + power[cell])
            flat[cell] = np.minimum(cut, flat[below] + _STEEPEST * CELL_M)
        height = flat.reshape(height.shape)
        height = (1 - _CREEP) * height + _CREEP * ndimage.gaussian_filter(height, 1.6, mode="nearest")
        drainage = drain(height, outlets)
    return _bend(rng, np.asarray(height))


def _bend(rng: np.random.Generator, height: FloatArray) -> FloatArray:
    """Heights moved sideways by a smooth field, so that no valley runs along the eight directions of the grid."""
    cells = height.shape[0]
    places = np.indices(height.shape, dtype=np.float64)
    moved = [p + 5.5 * smooth_field(rng, cells, 22) + 1.6 * smooth_field(rng, cells, 7) for p in places]
    return np.asarray(ndimage.map_coordinates(height, moved, order=3, mode="mirror"))
