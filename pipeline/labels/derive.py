"""Ground that a spectral index shows: masks over the scene, and their polygons above a minimum area."""

from pathlib import Path

import geopandas as gpd
import numpy as np
from scipy import ndimage

from pipeline.features.indices import compute, index_bands
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.geo.vector_io import geodesic_area_m2, trace
from pipeline.geo.windows import row_bands
from pipeline.params.refine_labels import IndexRule
from pipeline.types import AnyArray, BoolArray, Window

_ROWS = 256
_TILE_PX = 64


def index_mask(scene: Path, rule: IndexRule, reflectance_scale: float) -> BoolArray:
    """Pixels with data where the rule's index of reflectance is above its threshold, shape HW.

    Raises:
        ParamsError: there is no such index.
        SceneError: the scene lacks a band the index needs.
    """
    info = raster_io.describe(scene)
    file_bands = [band or "" for band in info.bands]
    needed = list(index_bands(rule.index, file_bands).values())
    numbers = [file_bands.index(band) + 1 for band in needed]
    mask = np.zeros(info.grid.shape, dtype=np.bool_)
    for window in row_bands(info.grid.height, info.grid.width, _ROWS):
        pixels = raster_io.read(scene, window, numbers).reshape(window.height, window.width, len(needed))
        values = compute(rule.index, (pixels / reflectance_scale).astype(np.float32), needed)
        mask[window.slices] = (values > rule.above) & has_data(pixels, info.nodata).all(axis=-1)
    return mask


def polygons_above(mask: BoolArray, grid: Grid, min_area_m2: float) -> tuple[gpd.GeoSeries, BoolArray]:
    """The mask's 4-connected areas of at least `min_area_m2` on the ellipsoid: their polygons, and their pixels.

    Small areas are sorted out by their pixel count first, so that noise is never traced.
    """
    areas, count = ndimage.label(mask)
    least_px = 0.99 * min_area_m2 / _largest_pixel_m2(grid)
    large = np.bincount(areas.ravel(), minlength=count + 1) >= least_px
    large[0] = False
    traced = list(trace(areas.astype(np.int32, copy=False), grid, large[areas]))
    polygons = gpd.GeoSeries([polygon for polygon, _ in traced], crs=grid.crs)
    enough = geodesic_area_m2(polygons) >= min_area_m2
    numbers = np.array([number for _, number in traced], dtype=np.int64)
    large[:] = False
    large[numbers[enough]] = True
    return polygons[enough].reset_index(drop=True), large[areas]


def tiles_of(mask: BoolArray, grid: Grid) -> AnyArray:
    """The mask as polygons that end at the edges of a fixed tiling: quick to overlay where whole areas are vast."""
    tiles = (Window(row, col, _TILE_PX, _TILE_PX) for row in range(0, grid.height, _TILE_PX)
             for col in range(0, grid.width, _TILE_PX))
    traced = [polygon for tile in tiles
              for polygon, _ in trace(mask[tile.slices].astype(np.uint8), grid.crop(tile), mask[tile.slices])]
    polygons = np.empty(len(traced), dtype=object)
    polygons[:] = traced
    return polygons


def _largest_pixel_m2(grid: Grid) -> float:
    rows, cols = (0, grid.height // 2, grid.height - 1), (0, grid.width // 2, grid.width - 1)
    return max(grid.crop(Window(row, col, 1, 1)).pixel_area_m2 for row in rows for col in cols)
