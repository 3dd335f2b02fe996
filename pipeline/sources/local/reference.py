"""Copy an independent reference: a raster with a crosswalk, or polygons. Refinement never touches it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import LabelError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import write_geopackage
from pipeline.geo.windows import row_bands
from pipeline.params.acquire_local import LocalReference
from pipeline.sources.local.crosswalk import IGNORE
from pipeline.sources.local.label_raster import read_grid, translate
from pipeline.sources.local.labels import is_raster, outline, read_polygons, warn_of_vector_settings
from pipeline.sources.local.location import check_overlap
from pipeline.types import IGNORE_INDEX

_SETTING = "acquire.local.reference"
_ROWS = 256


def copy_reference(given: LocalReference, root: Path, folder: Path, classes: tuple[str, ...],
                   grids: Mapping[str, Grid]) -> tuple[Path, int]:
    """Write truth.tif (class ids, 255 unknown, on the file's own grid) or truth.gpkg; returns it and its feature count.

    Raises:
        LabelError: a value nobody mapped, no class at all, no CRS, several bands, or no overlap with a scene.
    """
    if is_raster(given.path):
        return _copy_raster(given, root, folder / "truth.tif", classes, grids), 0
    polygons = read_polygons(given, root, _SETTING)
    if set(polygons["class"]) == {IGNORE}:
        raise _nothing_known(given)
    check_overlap(polygons, grids, f"reference {given.path}", f"{_SETTING}.crs")
    write_geopackage(folder / "truth.gpkg", {"truth": polygons})
    return folder / "truth.gpkg", len(polygons)


def _copy_raster(given: LocalReference, root: Path, out: Path, classes: tuple[str, ...],
                 grids: Mapping[str, Grid]) -> Path:
    path, subject = root / given.path, f"reference {given.path}"
    grid = read_grid(given, path, subject, _SETTING)
    warn_of_vector_settings(given, subject, _SETTING)
    known = False
    ids = {key: IGNORE_INDEX if name == IGNORE else classes.index(name) for key, name in given.classes.items()}
    with raster_io.create(out, grid, np.uint8, ["class"], IGNORE_INDEX, profile={"compress": "deflate"}) as writer:
        for window in row_bands(grid.height, grid.width, _ROWS):
            pixels = translate(raster_io.read(path, window), ids, IGNORE_INDEX)
            known = known or bool((pixels != IGNORE_INDEX).any())
            writer.write(pixels, window)
        if not known:
            raise _nothing_known(given)
    check_overlap(outline(grid), grids, subject, f"{_SETTING}.crs")
    return out


def _nothing_known(given: LocalReference) -> LabelError:
    return LabelError(f"reference {given.path} must hold a class: everything in it is {IGNORE!r} or nodata; correct "
                      f"{_SETTING}.classes, or name no reference")
