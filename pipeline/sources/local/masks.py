"""Cloud masks: pixels of a scene to leave out, from a raster of classes, dilated by metres on the ground."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.aligned import AlignedReader, open_aligned
from pipeline.geo.dilation import near, reach_px
from pipeline.geo.grid import Grid
from pipeline.params.acquire_local import SceneMask
from pipeline.sources.local.product import Product, check_covers, same_grid
from pipeline.types import AnyArray, BoolArray, Window

#: Gives True, shape HW, where pixels of a window of the scene's grid are left out.
Masked = Callable[[Window], BoolArray]

#: Rows that are dilated at once, or as many as the distance spans, so that few rows are read repeatedly.
_ROWS = 256


@contextmanager
def open_mask(product: Product, root: Path) -> Iterator[Masked | None]:
    """Open a scene's mask on its grid (nearest); yields None where the scene names no values to leave out.

    What the mask itself does not know (its nodata, ground it does not cover) is left out too. Clouds beyond the scene
    count as far as the mask file shows them.

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
    width_m, height_m = product.grid.ground_pixel_m
    # A mask on the scene's own grid shows nothing beyond it.
    grid, rows, cols = product.grid, 0, 0
    own = grid if same_grid(info.grid, grid) else info.grid
    if own is not grid:
        rows, cols = reach_px(mask.dilate_m, height_m), reach_px(mask.dilate_m, width_m)
    around = grid.crop(Window(-rows, -cols, grid.height + 2 * rows, grid.width + 2 * cols)) if rows or cols else grid
    nodata = None if info.nodata in mask.values else info.nodata
    with open_aligned(path, [1], around, own, "nearest", nodata) as reader:
        yield _Dilated(reader, grid, (rows, cols), mask)


class _Dilated:
    """Where pixels lie within mask.dilate_m of a masked pixel (centre to centre), or are unknown to the mask.

    Keeps the row band it has worked out last.
    """

    def __init__(self, reader: AlignedReader, grid: Grid, margin: tuple[int, int], mask: SceneMask) -> None:
        self._reader, self._grid, self._margin, self._mask = reader, grid, margin, mask
        self._pixel_m = grid.ground_pixel_m
        self._reach = reach_px(mask.dilate_m, self._pixel_m[1])
        self._top, self._band = 0, np.zeros((0, grid.width), dtype=np.bool_)

    def __call__(self, window: Window) -> BoolArray:
        """Shape HW of a window of the scene's grid."""
        if window.row < self._top or window.row + window.height > self._top + len(self._band):
            windows = math.ceil(max(_ROWS, self._reach) / window.height)  # whole ones, as they come from top to bottom
            bottom = min(self._grid.height, window.row + windows * window.height)
            self._top, self._band = window.row, self._rows(window.row, bottom)
        top = window.row - self._top
        return self._band[top:top + window.height, window.col:window.col + window.width]

    def _rows(self, top: int, bottom: int) -> BoolArray:
        """Rows of the scene, full width."""
        rows, cols = self._margin
        first = max(-rows, top - self._reach)
        last = min(self._grid.height + rows, bottom + self._reach)
        width = self._grid.width + 2 * cols
        hit = np.zeros((last - first, width), dtype=np.bool_)
        unknown = np.zeros((bottom - top, self._grid.width), dtype=np.bool_)
        for row in range(first, last, _ROWS):
            values, known = self._read(row, min(row + _ROWS, last), width)
            hit[row - first:row - first + len(values)] = np.isin(values, self._mask.values) & known
            start, stop = max(row, top), min(row + len(values), bottom)
            if start < stop:
                unknown[start - top:stop - top] = ~known[start - row:stop - row, cols:cols + self._grid.width]
        if self._mask.dilate_m and hit.any():
            hit = near(hit, slice(top - first, bottom - first), self._pixel_m, self._mask.dilate_m)
        else:
            hit = hit[top - first:bottom - first]
        return hit[:, cols:cols + self._grid.width] | unknown

    def _read(self, row: int, end: int, width: int) -> tuple[AnyArray, BoolArray]:
        values, known = self._reader.read(Window(row + self._margin[0], 0, end - row, width))
        return values[..., 0], known[..., 0]
