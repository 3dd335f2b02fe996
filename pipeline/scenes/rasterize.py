"""Write the scene store: image, labels, weights and reference of a scene on one grid, as memory-mappable GeoTIFFs.

A scene is worked on in bands of rows, so memory does not grow with it.

Shape legend: H rows, W columns, B bands.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.params.rasterize import RasterizeParams
from pipeline.paths import write_json
from pipeline.scenes.boundary import halo_px, ramp
from pipeline.scenes.burnt import BurntLabels, LabelSet, ReadClasses, open_nearest, open_truth, scene_bands
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, FloatArray, UInt8Array, Window


@dataclass(frozen=True)
class StoreJob:
    """What writing one scene needs; small enough to be sent to another process."""

    #: The raw scene; its stem is its id.
    source: Path
    #: Where its rasters go.
    folder: Path
    labels: LabelSet
    #: The folder of truth.tif or truth.gpkg and strata.tif; need not exist.
    reference: Path
    #: The task's bands, the order in the store.
    bands: tuple[str, ...]
    params: RasterizeParams


def target_grid(grid: Grid, resolution: float) -> Grid:
    """The scene's own grid (resolution 0, or its pixel size), or north-up square pixels of that size in CRS units.

    The latter start at the scene's upper left corner; what is left at its right and lower edge falls away.

    Raises:
        SceneError: the scene is rotated, so that a north-up grid would reach beyond it, or is smaller than a pixel.
    """
    if resolution == 0 or grid.pixel_size == (resolution, resolution):
        return grid
    if grid.transform.b or grid.transform.d:
        raise SceneError(f"rasterize.resolution must be 0 where a scene's rows do not run from west to east: got "
                         f"{resolution:g} for geotransform {tuple(grid.transform)[:6]}; set it to 0, or warp the scene "
                         "to a north-up grid")
    left, bottom, right, top = grid.bounds
    height, width = math.floor((top - bottom) / resolution + 1e-6), math.floor((right - left) / resolution + 1e-6)
    if height < 1 or width < 1:
        raise SceneError(f"rasterize.resolution must be smaller than a scene: got {resolution:g} in the units of "
                         f"{grid.crs_name} for bounds {grid.bounds}; choose a smaller one")
    return Grid(grid.crs_wkt, Affine(resolution, 0, left, 0, -resolution, top), height, width)


def jobs_of(sources: Sequence[Path], out: Path, labels: LabelSet, reference: Path, bands: tuple[str, ...],
            params: RasterizeParams) -> list[StoreJob]:
    """One job a scene, each with the labels it may need.

    Args:
        sources: raw scenes.
        out: the store's folder.
        labels: refined and unrefined labels of all scenes, in any CRS.
        reference: see `StoreJob`.
        bands: the task's.
        params: grid, resampling and weights.
    """
    if labels.fill == IGNORE_INDEX and params.background_weight != 1:
        warnings.warn(f"rasterize.background_weight={params.background_weight:g} has no effect: ground outside sparse "
                      "outlines has no label; set it to 1", stacklevel=2)
    grids = {source: raster_io.describe(source).grid for source in sources}
    return [StoreJob(source, out / source.stem, labels.of_scene(source.stem, grids[source]), reference, bands, params)
            for source in sources]


def store_scene(job: StoreJob) -> dict[str, Any]:
    """Write one scene of the store; returns its entry in the manifest.

    Raises:
        SceneError: the resolution does not suit the scene, or GDAL cannot read it.
    """
    grid, labels = target_grid(raster_io.describe(job.source).grid, job.params.resolution), job.labels
    touched = job.params.all_touched
    refined = BurntLabels.of(labels.refined, grid, labels.classes, labels.fill, touched, job.params.background_weight)
    unrefined = BurntLabels.of(labels.unrefined, grid, labels.classes, labels.fill, touched)
    with ExitStack() as stack:
        image = stack.enter_context(_image_bands(job, grid))
        truth = stack.enter_context(open_truth(job.reference, grid, labels.classes))
        writers: dict[str, raster_io.RasterWriter] = {}

        def put(name: str, pixels: AnyArray, window: Window, band: str = "class", nodata: float | None = None) -> None:
            if name not in writers:
                raster = raster_io.create(job.folder / f"{name}.tif", grid, pixels.dtype, [band], nodata)
                writers[name] = stack.enter_context(raster)
            writers[name].write(pixels, window)

        zones: ReadClasses | None = None
        if (job.reference / "strata.tif").exists():
            zones = stack.enter_context(open_nearest(job.reference / "strata.tif", grid, 0))
        for window, valid in image:
            put("valid", valid.astype(np.uint8), window, "valid")
            classes, weight = _labels_and_weight(refined, grid, window, job.params.boundary_ramp_m)
            classes[~valid] = IGNORE_INDEX
            weight[classes == IGNORE_INDEX] = 0
            put("labels", classes, window, nodata=IGNORE_INDEX)
            put("weight", weight, window, "weight")
            others = {"labels_raw": unrefined.classes, **({"reference": truth} if truth else {})}
            for name, read in others.items():
                ids = read(window)
                ids[~valid] = IGNORE_INDEX
                put(name, ids, window, nodata=IGNORE_INDEX)
            if zones:
                put("strata", zones(window), window, "zone", 0)
    return {"grid": grid.to_dict(), "dtype": raster_io.describe(job.folder / "image.tif").dtype,
            "crs_name": grid.crs_name}


def _labels_and_weight(refined: BurntLabels, grid: Grid, window: Window,
                       ramp_m: float) -> tuple[UInt8Array, FloatArray]:
    """Refined class ids and their weight: the polygon's confidence (or the background's weight) times the ramp."""
    if ramp_m == 0:
        return refined.classes_and_weights(window)
    halo = halo_px(grid.ground_pixel_m, ramp_m)
    top, bottom = max(0, window.row - halo), min(grid.height, window.row + window.height + halo)
    classes, weight = refined.classes_and_weights(Window(top, 0, bottom - top, grid.width))
    weight *= ramp(classes, grid.ground_pixel_m, ramp_m)
    own = slice(window.row - top, window.row - top + window.height)
    return classes[own], weight[own]


def write_manifest(folder: Path, bands: Sequence[str], classes: Sequence[str], coverage: str, strata: Mapping[str, str],
                   scenes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write manifest.json, which makes the folder a store."""
    manifest = {"bands": list(bands), "classes": list(classes), "coverage": coverage, "scenes": scenes,
                **({"strata": strata} if strata else {})}
    write_json(folder / "manifest.json", manifest)


@contextmanager
def _image_bands(job: StoreJob, grid: Grid) -> Iterator[Iterator[tuple[Window, BoolArray]]]:
    """Writes image.tif while its windows are walked through; yields each with its valid pixels, bool HW."""
    info = raster_io.describe(job.source)
    numbers = [info.bands.index(band) + 1 for band in job.bands]
    dtype = np.dtype(info.dtype) if np.dtype(info.dtype).kind in "iu" else np.dtype(np.float32)
    nodata = fitting_nodata(info.nodata, dtype) if dtype.kind in "iu" else float("nan")

    def walk(writer: raster_io.RasterWriter) -> Iterator[tuple[Window, BoolArray]]:
        for window, pixels in _read_bands(job.source, grid, numbers, job.params.resampling, nodata):
            data = has_data(pixels, info.nodata)
            kept = pixels if dtype.kind in "iu" else np.where(data, pixels, np.nan)
            writer.write(kept.astype(dtype, copy=False), window)
            yield window, np.asarray(data.all(axis=-1))

    with raster_io.create(job.folder / "image.tif", grid, dtype, job.bands, nodata) as writer:
        yield walk(writer)


def _read_bands(source: Path, grid: Grid, numbers: list[int], resampling: str,
                nodata: float | None) -> Iterator[tuple[Window, AnyArray]]:
    """Row bands of the scene as HWB, on its own grid or resampled; pixels without data never mix with others."""
    if grid == raster_io.describe(source).grid:
        with raster_io.open_windows(source) as own:
            for window in scene_bands(grid):
                yield window, np.moveaxis(own.read(window, numbers), 0, -1)
        return
    with raster_io.open_on_grid(source, grid, resampling, nodata=nodata) as warped:
        for window in scene_bands(grid):
            yield window, warped.read(window, numbers)
