"""Glaciers: snow that falls above the equilibrium line flows down the drainage until it has melted.

Mass balance rises with height (b = gradient x (z - ELA), bounded above); its sum along the drainage is the ice flux Q
of a steady glacier, which ends where the sum is used up: tongues in valleys below accumulation basins. Thickness
follows from flux and slope as in the shallow ice approximation, Q/w = 2A/(n+2) (rho g)^n H^(n+2) S^n with n = 3
(Cuffey and Paterson 2010, The Physics of Glaciers, ch. 8), so H ~ (Q/w)^(1/5) S^(-3/5). The surface is led sideways
over the valley floor.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.sources.synthetic.glacier.fields import FloatArray, refine, smooth_field
from pipeline.sources.synthetic.glacier.terrain import (
    CELL_M,
    FACTOR,
    MARGIN_PX,
    PIXEL_M,
    Terrain,
    slope_of,
    spread_surface,
)
from pipeline.types import BoolArray

#: Balance per metre of height (metres of ice a year), its greatest value, and its least.
_GRADIENT, _MOST, _LEAST = 0.0075, 1.4, -6.0
#: 2 A (rho g)^3 / 5 with A = 2.4e-24 s-1 Pa-3 and ice of 900 kg/m3, per year.
_FLOW = 2 * 2.4e-24 * (900 * 9.81) ** 3 / 5 * 3.156e7
#: Flux (m3 a year) from which ice is drawn, and from which it forms a broad valley glacier.
_LEAST_FLUX, _VALLEY_FLUX = 1.2e5, 3.0e6
#: Below this flux a glacier gets thin, and so narrow.
_TAPER_FLUX = 2.5e6
#: Metres by which the surface lies lower one e-folding of the lateral weight away from the middle.
_ARCH_M = 55.0
_BISECTIONS = 11


@dataclass(frozen=True)
class Ice:
    """Glaciers of an image at 30 m, margin included.

    Attributes:
        mask: where ice lies.
        surface: heights with ice on the ground, metres.
        ela: height of the equilibrium line at each pixel, metres.
        flux: ice flux of the drainage, m3 a year, smooth.
        flux_cells: the same by cell of the drainage.
    """

    mask: BoolArray
    surface: FloatArray
    ela: FloatArray
    flux: FloatArray
    flux_cells: FloatArray


def inner(values: np.ndarray) -> np.ndarray:
    """An array without the margin."""
    return values[..., MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def grow_ice(rng: np.random.Generator, terrain: Terrain, share: float) -> Ice:
    """The glaciers that cover about `share` of an image: the height of the equilibrium line is sought."""
    cells = terrain.coarse.shape[0]
    tilt = 130 * smooth_field(rng, cells, 40) + 60 * smooth_field(rng, cells, 12)
    steep = slope_of(ndimage.gaussian_filter(terrain.bed, 1.5))
    low, high = float(terrain.coarse.min()) - 500, float(terrain.coarse.max()) + 300
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        covered = inner(_cover(terrain, steep, middle + tilt).mask).mean()
        low, high = (middle, high) if covered > share else (low, middle)
    return _cover(terrain, steep, (low + high) / 2 + tilt)


def _cover(terrain: Terrain, steep: FloatArray, ela_coarse: FloatArray) -> Ice:
    """The glaciers of an equilibrium line; `steep` is the slope at 30 m of the bed, smoothed."""
    balance = np.clip(_GRADIENT * (terrain.coarse - ela_coarse), _LEAST, _MOST)
    flux = terrain.drainage.gather(balance * CELL_M**2, keep_positive=True)
    slope = np.clip(slope_of(ndimage.gaussian_filter(terrain.coarse, 1.5), CELL_M), 0.04, 1.2)
    width = 150 + 0.11 * np.sqrt(flux)
    depth = (flux / width / (_FLOW * slope**3)) ** 0.2
    depth = np.clip(depth, 0, 260) * np.clip(1.6 - 1.2 * slope, 0.1, 1) * np.clip(flux / _TAPER_FLUX, 0.01, 1) ** 0.3
    bed, level = terrain.bed, np.full(terrain.bed.shape, -np.inf)
    for least, sigma in ((_LEAST_FLUX, 1.0), (_VALLEY_FLUX, 2.4)):
        there = flux > least
        surface = spread_surface(terrain.coarse, np.where(there, depth, np.nan), sigma)
        weight = ndimage.gaussian_filter(there.astype(np.float64), sigma, truncate=3.0) * sigma / 0.4
        # The weight falls as exp(-d^2 / 2 sigma^2) beside a line of ice: a parabola across the glacier.
        arch = _ARCH_M * np.maximum(-np.log(np.maximum(weight, 1e-3)), 0)
        filled = np.where(np.isfinite(surface), surface - arch, terrain.coarse - 300)
        level = np.maximum(level, refine(filled, FACTOR))
    ela = refine(ela_coarse, FACTOR)
    # Above the line every gentle slope keeps its snow long enough to turn to ice.
    firn = (bed > ela + 60) & (steep < 0.72)
    mask = ((level > bed + 4) & (steep < 1.0)) | firn
    mask = ndimage.binary_closing(mask, iterations=1) & ~ndimage.binary_opening(steep > 1.0, iterations=1)
    mask = large_only(mask, 60)
    mask = ~large_only(~mask, 12)
    inside = ndimage.gaussian_filter(np.where(mask, np.maximum(level, bed), bed), 1.2)
    surface = np.where(mask, np.maximum(inside, bed), bed)
    return Ice(mask, np.asarray(surface), np.asarray(ela), np.asarray(np.clip(refine(flux, FACTOR), 0, None)), flux)


def large_only(mask: BoolArray, least_px: int) -> BoolArray:
    """Connected areas of at least so many pixels."""
    number, count = ndimage.label(mask)
    sizes = np.bincount(number.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.asarray(sizes[number] >= least_px)


def flow_direction(ice: Ice) -> FloatArray:
    """Unit vectors (rows, columns) down the smoothed ice surface, 2HW."""
    smooth = ndimage.gaussian_filter(ice.surface, 4.0)
    down = -np.stack(np.gradient(smooth, PIXEL_M))
    return np.asarray(down / np.maximum(np.hypot(*down), 1e-6))
