"""How small and how large the pixels of a whole grid are on the ground: in degrees, or over tall scenes, they vary."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pyproj import Geod, Transformer

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.types import AnyArray

_GEOD = Geod(ellps="WGS84")

#: Places along each side at which pixels are measured, both ends included.
_NODES = 9

#: Taken off the least, so that distances counted in pixels are never longer than geodesics, which are curved.
_MARGIN = 1e-6


@lru_cache(maxsize=256)
def least_pixel_m(grid: Grid) -> tuple[float, float]:
    """Width and height in metres, at most those of any pixel: (rows, columns) apart times them is never too far.

    Where the axes are not at right angles on the ground, both are smaller by what the angle may bring points together.

    Raises:
        SceneError: the grid has no CRS, or lies where it is not defined.
    """
    width, height, skew = _measured(grid)
    together = math.sqrt(max(1 - float(skew.max()), 0.0)) * (1 - _MARGIN)
    return float(width.min()) * together, float(height.min()) * together


@lru_cache(maxsize=256)
def most_pixel_m(grid: Grid) -> tuple[float, float]:
    """Width and height in metres, at least those of any pixel.

    Raises:
        SceneError: the grid has no CRS, or lies where it is not defined.
    """
    width, height, skew = _measured(grid)
    apart = math.sqrt(1 + float(skew.max())) * (1 + _MARGIN)
    return float(width.max()) * apart, float(height.max()) * apart


def _measured(grid: Grid) -> tuple[npt.NDArray[np.float64], ...]:
    """Widths, heights and |cosine| of the angle between the axes at nodes over the grid."""
    if grid.crs is None:
        raise SceneError("a grid must have a CRS where metres are meant: got none; set the scene's crs")
    rows, cols = (np.linspace(0.5, n - 0.5, _NODES) for n in grid.shape)
    row, col = (a.ravel() for a in np.meshgrid(rows, cols, indexing="ij"))
    t = grid.transform
    to_lonlat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)

    def lonlat(r: npt.NDArray[np.float64], c: npt.NDArray[np.float64]) -> AnyArray:
        lon, lat = to_lonlat.transform(t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f)
        return np.stack([lon, lat])

    here = lonlat(row, col)

    def towards(down: float, right: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        there = lonlat(row + down, col + right)
        azimuth, _, metres = _GEOD.inv(here[0], here[1], there[0], there[1])
        return np.radians(azimuth), np.asarray(metres)

    width, height, cosine = np.zeros(len(row)), np.zeros(len(row)), np.zeros(len(row))
    for half in (0.5, -0.5):  # both ways, so that the turn of the azimuth cancels
        (along_cols, right), (along_rows, down) = towards(0, half), towards(half, 0)
        width, height = width + right, height + down
        cosine += np.cos(along_cols - along_rows) / 2
    skew = np.where(np.abs(cosine) < 1e-7, 0.0, np.abs(cosine))
    if not all(np.isfinite(a).all() for a in (width, height, skew)):
        raise SceneError(f"a grid must lie where its CRS is defined: {grid.crs_name} with bounds {grid.bounds}; "
                         "check the scene's crs")
    return width, height, skew
