"""Copy the user's scenes: bands named, CRS settled, odd nodata made plain."""

import warnings
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.geo.windows import row_bands
from pipeline.params.acquire import LocalScene
from pipeline.sources.local.location import settle_crs

_ROWS = 256


def check_bands(names: tuple[str, ...], needed: tuple[str, ...], subject: str) -> None:
    """See that a scene has the task's bands.

    Raises:
        SceneError: a band is missing; the message names what there is.
    """
    if missing := [b for b in needed if b not in names]:
        raise SceneError(f"{subject} must have the bands of task.bands {list(needed)}: {missing} missing among "
                         f"{list(names)}; correct the bands of this scene in acquire.local.scenes, or task.bands")


def copy_scene(scene: LocalScene, root: Path, out: Path, needed: tuple[str, ...]) -> tuple[str, ...]:
    """Write a scene as a deflated GeoTIFF with band names and CRS; returns the names in file order.

    Floating-point pixels without data become NaN; integer ones keep the file's nodata value.

    Raises:
        SceneError: the file cannot be opened, bands are unnamed or missing, no CRS, or no pixel has data.
    """
    path = root / scene.path
    subject = f"scene {scene.id} ({scene.path})"
    info = raster_io.describe(path)
    names = _band_names(scene, info.bands, subject)
    check_bands(names, needed, subject)
    crs = settle_crs(info.grid.crs, scene.crs, subject, f"acquire.local.scenes[{scene.id}].crs", SceneError)
    grid = Grid(info.grid.crs_wkt or crs.to_wkt(), info.grid.transform, info.grid.height, info.grid.width)
    dtype = np.dtype(info.dtype)
    nodata = float("nan") if dtype.kind == "f" else fitting_nodata(info.nodata, dtype)
    columns = [names.index(b) for b in needed]
    complete = 0
    profile = {"compress": "deflate", "blockysize": "64"}
    with raster_io.create(out, grid, dtype, names, nodata, profile=profile) as writer:
        for window in row_bands(grid.height, grid.width, _ROWS):
            pixels = raster_io.read(path, window).reshape(window.height, window.width, -1)
            data = has_data(pixels, info.nodata)
            complete += int(data[..., columns].all(axis=-1).sum())
            writer.write(np.where(data, pixels, dtype.type(np.nan)) if dtype.kind == "f" else pixels, window)
        _check_filled(complete, grid, info.nodata, subject)
    return names


def _band_names(scene: LocalScene, described: tuple[str | None, ...], subject: str) -> tuple[str, ...]:
    names = scene.bands or tuple(b or "" for b in described)
    remedy = f"list all {len(described)} names in file order under bands of this scene in acquire.local.scenes"
    if len(names) != len(described):
        raise SceneError(f"{subject} must have a name for each band: it has {len(described)} bands, {len(names)} names "
                         f"are given; {remedy}")
    if unnamed := [i for i, name in enumerate(names, 1) if not name]:
        raise SceneError(f"{subject} must have named bands: {len(unnamed)} of {len(names)} have no description; "
                         f"{remedy}")
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise SceneError(f"{subject} must have bands with different names: {repeated} occur twice; {remedy}")
    return names


def _check_filled(complete: int, grid: Grid, nodata: float | None, subject: str) -> None:
    total = grid.height * grid.width
    if complete == 0:
        raise SceneError(f"{subject} must have pixels with data in all bands of the task: all {total} are nodata "
                         f"(declared {nodata}) or NaN; use another scene, or correct its nodata value")
    if complete < total / 100:
        warnings.warn(f"{subject} has data in all bands of the task at only {complete} of {total} pixels", stacklevel=2)
