"""Rasters that tests make scenes of: constant bands in a folder, a cloud mask, and a run over them."""

from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.sources.catalog import Catalog
from stages import acquire

WKT = CRS.from_epsg(32748).to_wkt()
FINE = Grid(WKT, Affine(10, 0, 700000, 0, -10, 9310000), 24, 24)
COARSE = Grid(WKT, Affine(20, 0, 700000, 0, -20, 9310000), 12, 12)


def write_folder(project: Any, *files: tuple[str, float, Grid], dtype: type = np.uint16,
                 nodata: float | None = 0) -> None:
    """inputs/bands/ with constant bands: (file name, value, grid)."""
    for name, value, grid in files:
        pixels = np.full(grid.shape, value, dtype)
        raster_io.write(project.root / "inputs/bands" / name, pixels, grid, [""], nodata)


def run(project: Any, needed: tuple[str, ...] = ("blue", "swir1"), **scene: Any) -> tuple[Catalog, np.ndarray]:
    catalog = acquire.run(project.params(scene={"path": "inputs/bands", **scene}, bands=needed), project.paths)
    return catalog, raster_io.read(project.paths.raw / "scenes/scene.tif")


def write_mask(project: Any, grid: Grid | None = COARSE, bands: int = 1) -> None:
    values = np.zeros((*(grid or COARSE).shape, bands), np.uint8)
    values[4, 4] = 9
    raster_io.write(project.root / "inputs/clouds.tif", values, grid or Grid("", COARSE.transform, 12, 12),
                    ["c"] * bands)
