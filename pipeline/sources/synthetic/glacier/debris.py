"""Rock debris on ice: stones fall from steep walls on the glacier's edge and are carried down with the ice.

Along one flow line they form lateral moraines, below spurs between two tributaries medial ones, and where the ice melts
and slows, on the lower tongue, a closed cover.
"""

import numpy as np
from scipy import ndimage

from pipeline.sources.synthetic.glacier.fields import FloatArray, fractal_field, refine
from pipeline.sources.synthetic.glacier.ice import Ice, flow_direction, inner
from pipeline.sources.synthetic.glacier.terrain import FACTOR, Terrain, slope_of

_STONES = 3000
_STEPS = 420
#: Pixels a stone moves in a step.
_STRIDE = 1.3


def carry_debris(rng: np.random.Generator, terrain: Terrain, ice: Ice, share: float) -> FloatArray:
    """Thickness of debris in units of the least that hides the ice; 0 where there is none, margin included.

    Args:
        rng: the image's generator for debris.
        terrain: the ground below.
        ice: the glaciers.
        share: share of the image, without margin, to be covered.
    """
    size = ice.mask.shape[0]
    lowness, richness, trunk = _along_tongue(rng, terrain, ice)
    carried = ndimage.gaussian_filter(_deposit(rng, ice), 1.0)
    carried = carried / max(float(np.quantile(carried[ice.mask], 0.97)), 1.0) if ice.mask.any() else carried
    broad = np.clip(trunk / 1.5e6, 0.12, 1)
    beside = 0.22 * np.exp(-ndimage.distance_transform_edt(ice.mask) / 3.5)
    stripes = carried * np.clip(lowness, 0, 1) * 1.6
    uneven = 0.16 * fractal_field(rng, size, 14, 4, 0.6)
    closed = 1 / (1 + np.exp(-np.clip((lowness + uneven + beside - 0.68) / 0.07, -30, 30)))
    load = richness * broad * (stripes + 1.3 * closed * (0.6 + lowness)) * np.exp(0.3 * fractal_field(rng, size, 9, 3))
    load = np.where(ice.mask & (lowness > 0), ndimage.gaussian_filter(load, 0.7), 0.0)
    wanted = round(share * inner(ice.mask).size)
    ranked = np.sort(inner(load)[inner(load) > 0])[::-1]
    if wanted == 0 or len(ranked) == 0:
        return np.zeros_like(load)
    least = ranked[min(wanted, len(ranked)) - 1]
    covered = _clean(load >= least, ice.mask)
    thickness: FloatArray = np.where(covered, np.maximum(load / least, 1.0), 0.0)
    return thickness


def _along_tongue(rng: np.random.Generator, terrain: Terrain, ice: Ice) -> tuple[FloatArray, ...]:
    """How far down its tongue a pixel lies (0 at the equilibrium line, 1 at the end), its glacier's stones and flux.

    Both follow the drainage upwards from the cell in which a glacier ends.
    """
    there = ice.flux_cells.ravel() > 0
    end, stones = terrain.coarse.ravel().copy(), np.exp(0.8 * rng.standard_normal(there.size))
    for cell, below in terrain.drainage.upwards():
        joined = there[cell] & there[below]
        end[cell[joined]] = end[below[joined]]
        stones[cell[joined]] = stones[below[joined]]
    shape = terrain.coarse.shape
    weight = np.where(there, ice.flux_cells.ravel(), 0).reshape(shape)
    weight = weight**0.7 + 1e-6
    total = ndimage.gaussian_filter(weight, 1.5)
    end, stones, trunk = (refine(ndimage.gaussian_filter(v.reshape(shape) * weight, 1.5) / total, FACTOR)
                          for v in (end, np.log(stones), np.maximum(ice.flux_cells, 0)))
    lowness = (ice.ela - ice.surface) / np.maximum(ice.ela - end, 200)
    return np.asarray(np.clip(lowness, 0, 1.1)), np.asarray(np.exp(stones)), trunk


def _clean(covered: np.ndarray, ice: np.ndarray) -> np.ndarray:
    """Without specks: debris areas and clean windows in them have some pixels."""
    for value in (True, False):
        number, count = ndimage.label((covered == value) & ice)
        small = np.bincount(number.ravel(), minlength=count + 1) < 8
        small[0] = False
        covered = np.where(small[number], not value, covered)
    return np.asarray(covered & ice)


def _deposit(rng: np.random.Generator, ice: Ice) -> FloatArray:
    """How many stones pass each pixel."""
    passed = np.zeros(ice.mask.size)
    size = ice.mask.shape[0]
    edge = ice.mask & ndimage.binary_dilation(~ice.mask, iterations=2)
    wall = ndimage.maximum_filter(np.where(ice.mask, 0, slope_of(ice.surface)), 7)
    supply = np.where(edge, np.clip(wall - 0.45, 0, 0.8) * np.exp(-np.abs(ice.surface - ice.ela) / 500), 0).ravel()
    if not supply.any():
        return np.asarray(passed.reshape(ice.mask.shape))
    summed = np.cumsum(supply)
    start = np.searchsorted(summed, np.sort(rng.random(_STONES)) * summed[-1], side="right")
    row, col = (start // size).astype(np.float64), (start % size).astype(np.float64)
    direction = flow_direction(ice)
    alive = np.ones(len(row), dtype=bool)
    for _ in range(_STEPS):
        r, c = np.rint(row[alive]).astype(np.int64), np.rint(col[alive]).astype(np.int64)
        passed += np.bincount(r * size + c, minlength=passed.size)
        row[alive] += _STRIDE * direction[0, r, c]
        col[alive] += _STRIDE * direction[1, r, c]
        inside = (row > 1) & (row < size - 2) & (col > 1) & (col < size - 2)
        alive &= inside
        alive[alive] = ice.mask[np.rint(row[alive]).astype(np.int64), np.rint(col[alive]).astype(np.int64)]
        if not alive.any():
            break
    return np.asarray(passed.reshape(ice.mask.shape))
