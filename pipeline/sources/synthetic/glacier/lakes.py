"""Lakes: before tongues and beside them, as ponds on debris-covered ice, and as tarns in hollows away from ice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.sources.synthetic.glacier.fields import FloatArray, fractal_field
from pipeline.sources.synthetic.glacier.ice import Ice
from pipeline.sources.synthetic.glacier.terrain import MARGIN_PX, PIXEL_M, Terrain, slope_of
from pipeline.types import BoolArray

#: Kind: share of all lakes, median size in pixels, spread of its logarithm, least and greatest size.
KINDS = {
    "proglacial": (0.36, 34.0, 0.75, 9, 260),
    "pond": (0.34, 5.0, 0.45, 3, 16),
    "tarn": (0.30, 9.0, 0.55, 4, 50),
}
_TRIES = 60
#: Pixels to each side of a lake's first pixel in which it may spread.
_REACH = 28


@dataclass(frozen=True)
class Lake:
    """One lake: its kind, its pixels (flat indices of the image with margin), and how turbid it is (0 to 1)."""

    kind: str
    pixels: np.ndarray
    turbidity: float


def fill_lakes(rng: np.random.Generator, terrain: Terrain, ice: Ice, debris: FloatArray, budget_px: int) -> list[Lake]:
    """Lakes of together about `budget_px` pixels; fewer where there is no place for them."""
    sites = {kind: np.flatnonzero(where) for kind, where in _sites(terrain, ice, debris)}
    rough = fractal_field(rng, ice.mask.shape[0], 6, 2)
    taken = np.zeros(ice.mask.shape, dtype=bool)
    lakes: list[Lake] = []
    left = budget_px
    kinds = list(KINDS)
    chances = np.array([KINDS[kind][0] for kind in kinds])
    for _ in range(_TRIES):
        if left < 3:
            break
        kind = kinds[int(np.searchsorted(np.cumsum(chances), rng.random() * chances.sum()))]
        _, median, spread, least, most = KINDS[kind]
        wanted = int(np.clip(round(median * np.exp(spread * rng.standard_normal())), least, most))
        at = rng.random()
        turbidity = {"proglacial": 0.75, "pond": 0.5, "tarn": 0.12}[kind] + 0.22 * rng.standard_normal()
        if len(sites[kind]) == 0:
            continue
        site = int(sites[kind][int(at * len(sites[kind]))])
        pixels = _spread(site, min(wanted, max(left, 3)), kind, ice, debris, rough, taken)
        if len(pixels) < 3:
            continue
        row, col = np.divmod(pixels, ice.mask.shape[1])
        taken[np.clip(row, 2, None)[:, None] + np.arange(-2, 3), np.clip(col, 2, None)[:, None]] = True
        taken.ravel()[pixels] = True
        lakes.append(Lake(kind, pixels, float(np.clip(turbidity, 0, 1))))
        left -= len(pixels)
    return lakes


def _sites(terrain: Terrain, ice: Ice, debris: FloatArray) -> Iterator[tuple[str, BoolArray]]:
    """Where a lake of each kind may begin."""
    slope = slope_of(ndimage.gaussian_filter(ice.surface, 1.0))
    inside = np.zeros(ice.mask.shape, dtype=bool)
    inside[MARGIN_PX + 4 : -MARGIN_PX - 4, MARGIN_PX + 4 : -MARGIN_PX - 4] = True
    from_ice = ndimage.distance_transform_edt(~ice.mask)
    tongue = ndimage.minimum_filter(np.where(ice.mask, ice.surface - ice.ela, 1e4), 31) < -100
    yield "proglacial", inside & ~ice.mask & (from_ice <= 9) & (slope < 0.24) & tongue
    yield "pond", inside & (debris > 1.2) & (slope < 0.16)
    hollow = ndimage.gaussian_filter(terrain.bed, 6) - ndimage.gaussian_filter(terrain.bed, 2) > 3
    high = (terrain.bed > ice.ela - 900) & (terrain.bed < ice.ela + 50)
    yield "tarn", inside & ~ice.mask & (from_ice > 8) & (slope < 0.30) & hollow & high


def _spread(site: int, wanted: int, kind: str, ice: Ice, debris: FloatArray, rough: FloatArray,
            taken: BoolArray) -> np.ndarray:
    """The connected pixels around a site that flood first: low, near, and of the kind's ground."""
    row, col = divmod(site, ice.mask.shape[1])
    rows, cols = slice(row - _REACH, row + _REACH + 1), slice(col - _REACH, col + _REACH + 1)
    down, right = np.indices((2 * _REACH + 1, 2 * _REACH + 1)) - _REACH
    away = np.hypot(down, right)
    rise = np.abs(ice.surface[rows, cols] - ice.surface[row, col])
    cost = rise / 2.0 + away * 0.9 + 1.4 * rough[rows, cols]
    ground = debris[rows, cols] > 0 if kind == "pond" else ~ice.mask[rows, cols]
    free = ground & ~taken[rows, cols] & (rise < 14 + 0.15 * PIXEL_M * away)
    if not free[_REACH, _REACH]:
        return np.zeros(0, dtype=np.int64)
    limit = np.sort(cost[free])[min(wanted, int(free.sum())) - 1]
    number, _ = ndimage.label(free & (cost <= max(limit, cost[_REACH, _REACH])))
    r, c = np.nonzero(number == number[_REACH, _REACH])
    return np.asarray((r + row - _REACH) * ice.mask.shape[1] + c + col - _REACH, dtype=np.int64)
