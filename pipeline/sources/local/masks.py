"""Cloud masks: pixels of a scene to leave out, from a raster of classes, dilated by metres on the ground."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.aligned import AlignedReader, open_aligned
from pipeline.geo.grid import Grid
from pipeline.params.acquire_local import SceneMask
from pipeline.sources.local.product import Product, check_covers
from pipeline.types import BoolArray, Window

#: Gives True, shape HW, where pixels of a window of the scene's grid are left out.
Masked = Callable[[Window], BoolArray]


@contextmanager
def open_mask(product: Product, root: Path) -> Iterator[Masked | None]:
    """Open a scene's mask on its grid (nearest); yields None where the scene names no values to leave out.

    Raises:
        SceneError: there is no mask file, or it has several bands, no CRS, or does not cover the scene.
    """
    mask, scene = product.scene.mask, product.scene
    if not mask.values:
        yield None
        return
    path = root / mask.path if mask.path else product.classification
    if path is None:
        raise SceneError(f"{product.subject} must have a scene classification for its mask, as L2A products do: found "
                         "none; set mask.path of this scene in acquire.local.scenes")
    subject = f"mask {mask.path or path.name} of scene {scene.id}"
    info = raster_io.describe(path)
    if info.count != 1:
        raise SceneError(f"{subject} must have one band of class values: got {info.count}; extract the band")
    if info.grid.crs is None:
        raise SceneError(f"{subject} must have a CRS: the file has none; assign it with gdal_edit.py -a_srs")
    check_covers(info.grid, product.grid, subject, whole=True)
    with open_aligned(path, [1], product.grid, info.grid, "nearest", None) as reader:
        yield lambda window: masked(reader, window, product.grid, mask)


def masked(reader: AlignedReader, window: Window, grid: Grid, mask: SceneMask) -> BoolArray:
    """Where pixels of a window lie within mask.dilate_m of a masked pixel (centre to centre), shape HW."""
    width_m, height_m = grid.ground_pixel_m
    halo = math.floor(mask.dilate_m / height_m)
    top, bottom = max(0, window.row - halo), min(grid.height, window.row + window.height + halo)
    values, _ = reader.read(Window(top, 0, bottom - top, grid.width))
    hit = np.isin(values[..., 0], mask.values)
    if mask.dilate_m and hit.any():
        hit = _distance(hit, height_m, width_m) <= mask.dilate_m
    rows = slice(window.row - top, window.row - top + window.height)
    left_out: BoolArray = hit[rows, window.col:window.col + window.width]
    return left_out


def _distance(hit: BoolArray, height_m: float, width_m: float) -> BoolArray:
    from scipy.ndimage import distance_transform_edt

    distance: BoolArray = distance_transform_edt(~hit, sampling=(height_m, width_m))
    return distance
