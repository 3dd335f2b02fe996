"""Copy the user's scenes: bands named, CRS settled, odd nodata and masks made plain.

Shape legend: H rows, W columns, B bands.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.geo.windows import row_bands
from pipeline.params.acquire import LocalScene
from pipeline.sources.local.location import settle_crs
from pipeline.types import AnyArray, BoolArray, Window

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

    Floating-point pixels without data become NaN; integer ones keep the file's nodata value, which those that a mask
    or alpha band leaves out take too (without one, the least or largest value of the type, whichever is free).

    Raises:
        SceneError: the file cannot be opened, bands are unnamed or missing, no CRS, no pixel has data, or no value is
            free for masked pixels.
    """
    path = root / scene.path
    subject = f"scene {scene.id} ({scene.path})"
    info = raster_io.describe(path)
    names = _band_names(scene, info.bands, subject)
    check_bands(names, needed, subject)
    crs = settle_crs(info.grid.crs, scene.crs, subject, f"acquire.local.scenes[{scene.id}].crs", SceneError)
    grid = Grid(info.grid.crs_wkt or crs.to_wkt(), info.grid.transform, info.grid.height, info.grid.width)
    dtype = np.dtype(info.dtype)
    nodata = float("nan") if dtype.kind == "f" else _integer_nodata(path, info, subject)
    columns = [names.index(b) for b in needed]
    complete = 0
    profile = {"compress": "deflate", "blockysize": "64"}
    with raster_io.create(out, grid, dtype, names, nodata, profile=profile) as writer:
        for window, pixels, data in _read_rows(path, info):
            complete += int(data[..., columns].all(axis=-1).sum())
            writer.write(pixels if nodata is None else np.where(data, pixels, dtype.type(nodata)), window)
        _check_filled(complete, grid, info.nodata, subject)
    return names


def _read_rows(path: Path, info: raster_io.RasterInfo) -> Iterator[tuple[Window, AnyArray, BoolArray]]:
    """Row bands of the file: window, pixels HWB, and where they hold data by nodata value and mask, HWB."""
    bands = range(1, info.count + 1)
    with raster_io.open_windows(path) as reader:
        for window in row_bands(info.grid.height, info.grid.width, _ROWS):
            pixels = np.ascontiguousarray(np.moveaxis(reader.read(window, bands), 0, -1))
            data = has_data(pixels, info.nodata)
            if (mask := reader.mask(window)) is not None:
                data &= mask[..., np.newaxis]
            yield window, pixels, data


def _integer_nodata(path: Path, info: raster_io.RasterInfo, subject: str) -> float | None:
    """The file's nodata value; without one, a value that no pixel with data has if the mask leaves any out."""
    dtype = np.dtype(info.dtype)
    if (declared := fitting_nodata(info.nodata, dtype)) is not None:
        return declared
    with raster_io.open_windows(path) as reader:
        if reader.mask(Window(0, 0, 1, 1)) is None:
            return None
    limits = np.iinfo(dtype)
    free, masked = {limits.min, limits.max}, False
    for _, pixels, data in _read_rows(path, info):
        masked = masked or not data.all()
        free -= {value for value in free if (pixels[data] == value).any()}
    if masked and not free:
        raise SceneError(f"{subject} must have a value free for the pixels its mask leaves out: {limits.min} and "
                         f"{limits.max} both occur in its {dtype.name} pixels; declare a nodata value in the file, or "
                         "convert it to a wider type")
    return min(free) if masked else None


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
                         f"(declared {nodata}), masked or NaN; use another scene, or correct its nodata value")
    if complete < total / 100:
        warnings.warn(f"{subject} has data in all bands of the task at only {complete} of {total} pixels", stacklevel=2)
