"""Write the scene store: image, labels, weights and reference of a scene on one grid, as memory-mappable GeoTIFFs.

Shape legend: H rows, W columns, B bands.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from affine import Affine

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.geo.vector_io import burn, read_vectors
from pipeline.geo.windows import row_bands
from pipeline.params.rasterize import RasterizeParams
from pipeline.paths import write_json
from pipeline.types import IGNORE_INDEX, AnyArray, FloatArray, UInt8Array, Window

_ROWS = 256
_IGNORE = "ignore"


@dataclass(frozen=True)
class LabelSet:
    """Labels of all scenes. Columns: class; in `refined` also confidence and scene. `fill` is outside them."""

    refined: gpd.GeoDataFrame
    unrefined: gpd.GeoDataFrame
    classes: tuple[str, ...]
    #: Class id of ground outside the labels: the background's where they are exhaustive, 255 where sparse.
    fill: int


def fill_value(coverage: str, background: str, classes: Sequence[str]) -> int:
    """What ground outside the labels is: the background where they are declared exhaustive, else unknown."""
    return list(classes).index(background) if coverage == "exhaustive" and background else IGNORE_INDEX


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


def store_scene(source: Path, folder: Path, labels: LabelSet, reference: Path, bands: tuple[str, ...],
                params: RasterizeParams) -> dict[str, Any]:
    """Write one scene of the store; returns its entry in the manifest.

    Args:
        source: the raw scene; its stem is its id.
        folder: where its rasters go.
        labels: refined and unrefined labels, in any CRS.
        reference: the folder of truth.tif or truth.gpkg and strata.tif; need not exist.
        bands: the task's bands, the order in the store.
        params: resolution and resampling.
    """
    grid = target_grid(raster_io.describe(source).grid, params.resolution)
    valid = _write_image(source, folder, grid, bands, params)
    refined = labels.refined[labels.refined["scene"] == source.stem]
    label_maps = {
        "labels": burn_classes(refined, grid, labels.classes, labels.fill, params.all_touched),
        "labels_raw": burn_classes(labels.unrefined, grid, labels.classes, labels.fill, params.all_touched),
    }
    truth = read_truth(reference, grid, labels.classes)
    if truth is not None:
        label_maps["reference"] = truth
    for name, ids in label_maps.items():
        ids[valid == 0] = IGNORE_INDEX
        raster_io.write(folder / f"{name}.tif", ids, grid, ["class"], IGNORE_INDEX)
    weight = burn_confidence(refined, grid, params.all_touched)
    weight[label_maps["labels"] == IGNORE_INDEX] = 0
    raster_io.write(folder / "weight.tif", weight, grid, ["weight"])
    if (reference / "strata.tif").exists():
        zones = _on_grid(reference / "strata.tif", grid, 0)
        raster_io.write(folder / "strata.tif", zones, grid, ["zone"], 0)
    return {"grid": grid.to_dict(), "dtype": raster_io.describe(folder / "image.tif").dtype, "crs_name": grid.crs_name}


def burn_classes(frame: gpd.GeoDataFrame, grid: Grid, classes: Sequence[str], fill: int,
                 all_touched: bool = False) -> UInt8Array:
    """Class ids of polygons in any CRS, shape HW; later polygons lie on top, "ignore" burns 255."""
    ids = {**{name: i for i, name in enumerate(classes)}, _IGNORE: IGNORE_INDEX}
    shapes = frame.geometry.to_crs(grid.crs)
    return burn(list(shapes), [ids[name] for name in frame["class"]], grid, fill, all_touched)


def burn_confidence(frame: gpd.GeoDataFrame, grid: Grid, all_touched: bool = False) -> FloatArray:
    """Confidence of polygons to two decimals, float32 HW; 1 outside them."""
    percent = (frame["confidence"] * 100).round().astype(int)
    burnt = burn(list(frame.geometry.to_crs(grid.crs)), list(percent), grid, 100, all_touched)
    return np.divide(burnt, np.float32(100), dtype=np.float32)


def read_truth(reference: Path, grid: Grid, classes: Sequence[str]) -> UInt8Array | None:
    """Class ids of the independent reference on a grid (nearest), 255 = unknown; None where there is none."""
    if (reference / "truth.tif").exists():
        return _on_grid(reference / "truth.tif", grid, IGNORE_INDEX)
    if (reference / "truth.gpkg").exists():
        return burn_classes(read_vectors(reference / "truth.gpkg", "truth"), grid, classes, IGNORE_INDEX)
    return None


def write_manifest(folder: Path, bands: Sequence[str], classes: Sequence[str], coverage: str, strata: Mapping[str, str],
                   scenes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write manifest.json, which makes the folder a store."""
    manifest = {"bands": list(bands), "classes": list(classes), "coverage": coverage, "scenes": scenes,
                **({"strata": strata} if strata else {})}
    write_json(folder / "manifest.json", manifest)


def _write_image(source: Path, folder: Path, grid: Grid, bands: tuple[str, ...], params: RasterizeParams) -> UInt8Array:
    """Write image.tif and valid.tif; returns the latter's pixels."""
    info = raster_io.describe(source)
    numbers = [info.bands.index(band) + 1 for band in bands]
    dtype = np.dtype(info.dtype) if np.dtype(info.dtype).kind in "iu" else np.dtype(np.float32)
    nodata = fitting_nodata(info.nodata, dtype) if dtype.kind in "iu" else float("nan")
    valid = np.zeros(grid.shape, dtype=np.uint8)
    with raster_io.create(folder / "image.tif", grid, dtype, bands, nodata) as writer:
        for window, pixels in _read_rows(source, grid, numbers, params.resampling, nodata):
            data = has_data(pixels, info.nodata)
            valid[window.slices] = data.all(axis=-1)
            kept = pixels if dtype.kind in "iu" else np.where(data, pixels, np.nan)
            writer.write(kept.astype(dtype, copy=False), window)
    raster_io.write(folder / "valid.tif", valid, grid, ["valid"])
    return valid


def _read_rows(source: Path, grid: Grid, numbers: list[int], resampling: str,
               nodata: float | None) -> Iterator[tuple[Window, AnyArray]]:
    """Row bands of the scene as HWB, on its own grid or resampled; pixels without data never mix with others."""
    windows = row_bands(grid.height, grid.width, _ROWS)
    if grid == raster_io.describe(source).grid:
        for window in windows:
            yield window, raster_io.read(source, window, numbers).reshape(window.height, window.width, len(numbers))
        return
    with raster_io.open_on_grid(source, grid, resampling, nodata=nodata) as reader:
        for window in windows:
            yield window, reader.read(window, numbers)


def _on_grid(path: Path, grid: Grid, unknown: int) -> UInt8Array:
    with raster_io.open_on_grid(path, grid, "nearest", nodata=unknown) as reader:
        ids: UInt8Array = reader.read(Window(0, 0, grid.height, grid.width), [1])[..., 0]
    return ids
