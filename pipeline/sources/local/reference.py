"""Copy an independent reference: a raster with a crosswalk, or polygons. Refinement never touches it."""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
from shapely.geometry import box

from pipeline.errors import LabelError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.geo.vector_io import write_geopackage
from pipeline.geo.windows import row_bands
from pipeline.params.acquire import LocalReference
from pipeline.sources.local.crosswalk import IGNORE, check_mapped, value_key
from pipeline.sources.local.labels import read_polygons
from pipeline.sources.local.location import check_overlap, settle_crs
from pipeline.types import IGNORE_INDEX, AnyArray, UInt8Array

_SETTING = "acquire.local.reference"
_RASTERS = (".tif", ".tiff", ".vrt", ".img", ".jp2", ".nc", ".asc", ".png")
_ROWS = 256


def copy_reference(given: LocalReference, root: Path, folder: Path, classes: tuple[str, ...],
                   grids: Mapping[str, Grid]) -> tuple[Path, int]:
    """Write truth.tif (class ids, 255 unknown, on the file's own grid) or truth.gpkg; returns it and its feature count.

    Raises:
        LabelError: a value nobody mapped, no CRS, several bands, or no overlap with a scene.
    """
    if Path(given.path).suffix.lower() in _RASTERS:
        return _copy_raster(given, root, folder / "truth.tif", classes, grids), 0
    polygons = read_polygons(given, root, _SETTING)
    check_overlap(polygons, grids, f"reference {given.path}", f"{_SETTING}.crs")
    write_geopackage(folder / "truth.gpkg", {"truth": polygons})
    return folder / "truth.gpkg", len(polygons)


def _copy_raster(given: LocalReference, root: Path, out: Path, classes: tuple[str, ...],
                 grids: Mapping[str, Grid]) -> Path:
    path, subject = root / given.path, f"reference {given.path}"
    info = raster_io.describe(path)
    if info.count != 1:
        raise LabelError(f"{subject} must have one band of class values: got {info.count}; extract the band")
    crs = settle_crs(info.grid.crs, given.crs, subject, f"{_SETTING}.crs", LabelError)
    grid = Grid(info.grid.crs_wkt or crs.to_wkt(), info.grid.transform, info.grid.height, info.grid.width)
    _check_values(path, info, given.classes, subject)
    ids = {key: IGNORE_INDEX if name == IGNORE else classes.index(name) for key, name in given.classes.items()}
    with raster_io.create(out, grid, np.uint8, ["class"], IGNORE_INDEX, profile={"compress": "deflate"}) as writer:
        for window in row_bands(grid.height, grid.width, _ROWS):
            writer.write(_translate(raster_io.read(path, window), ids), window)
    check_overlap(_outline(grid), grids, subject, f"{_SETTING}.crs")
    return out


def _check_values(path: Path, info: raster_io.RasterInfo, mapping: Mapping[str, str], subject: str) -> None:
    """Every value must be mapped; the file's own nodata value needs no mapping, it says "unknown" itself."""
    counts: dict[str, int] = {}
    for window in row_bands(info.grid.height, info.grid.width, _ROWS):
        pixels = raster_io.read(path, window)
        known = has_data(pixels, info.nodata)
        for value, n in zip(*np.unique(pixels, return_counts=True), strict=True):
            key = value_key(value.item())
            if key in mapping or known[pixels == value].any():
                counts[key] = counts.get(key, 0) + int(n)
    check_mapped(counts, mapping, subject, f"{_SETTING}.classes")


def _translate(pixels: AnyArray, ids: Mapping[str, int]) -> UInt8Array:
    values, inverse = np.unique(pixels, return_inverse=True)
    table = np.array([ids.get(value_key(v.item()), IGNORE_INDEX) for v in values], dtype=np.uint8)
    translated: UInt8Array = table[inverse].reshape(pixels.shape)
    return translated


def _outline(grid: Grid) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=[box(*grid.bounds)], crs=grid.crs)
