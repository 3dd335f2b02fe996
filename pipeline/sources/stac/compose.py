"""Bring cut-outs to one grid as reflectance, mask clouds, and write a scene: one item's pixels, or a median of several.

Shape legend: N items, H rows, W columns, B bands.
"""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.geo.windows import row_bands
from pipeline.params.acquire_remote import StacMask
from pipeline.sources.stac.fetch import CutOut
from pipeline.sources.stac.plan import halo, padded
from pipeline.sources.stac.reflectance import Calibration
from pipeline.types import BoolArray, FloatArray, Window

#: Of all items' pixels in memory at once.
_BUDGET_BYTES = 16 << 20
#: Rows of a strip of the file; windows are whole strips, so that none is compressed twice.
_STRIP = 16


@dataclass(frozen=True)
class Layer:
    """One item: its bands in the scene's order, and its mask where there is one."""

    item: str
    bands: tuple[tuple[CutOut, Calibration], ...]
    mask: CutOut | None


class LayerReader:
    """Reads one item's reflectance on the scene's grid, window by window."""

    def __init__(self, stack: ExitStack, layer: Layer, grid: Grid, resampling: str, mask: StacMask) -> None:
        self._layer, self._grid, self._mask = layer, grid, mask
        self._readers = [stack.enter_context(raster_io.open_on_grid(
            cut_out.path, grid, resampling, nodata=float("nan") if known.nodata is None else known.nodata,
            dtype="float32")) for cut_out, known in layer.bands]
        self._halo = halo(grid, mask.dilate_m)
        self._classes = None
        if layer.mask is not None:
            self._classes = stack.enter_context(
                raster_io.open_on_grid(layer.mask.path, padded(grid, self._halo), "nearest"))

    def read(self, window: Window) -> FloatArray:
        """Reflectance HWB float32, NaN in all bands where one has no data or the mask leaves the pixel out."""
        values = np.empty((window.height, window.width, len(self._readers)), dtype=np.float32)
        for i, (reader, (_, known)) in enumerate(zip(self._readers, self._layer.bands, strict=True)):
            numbers = reader.read(window, [1])[..., 0]
            reflectance = (numbers + np.float32(known.offset)) / np.float32(known.quantification)
            values[..., i] = np.where(has_data(numbers, known.nodata), reflectance, np.float32("nan"))
        left_out = np.isnan(values).any(axis=-1) | self._left_out(window)
        values[left_out] = np.nan
        return values

    def _left_out(self, window: Window) -> BoolArray:
        if self._classes is None:
            return np.zeros((window.height, window.width), dtype=np.bool_)
        rows, cols = self._halo
        around = Window(window.row, window.col, window.height + 2 * rows, window.width + 2 * cols)
        hit: BoolArray = np.isin(self._classes.read(around, [1])[..., 0], self._mask.values)
        if self._mask.dilate_m and hit.any():
            width, height = self._grid.ground_pixel_m
            hit = distance_transform_edt(~hit, sampling=(height, width)) <= self._mask.dilate_m
        return hit[rows:rows + window.height, cols:cols + window.width]


def write_scene(out: Path, grid: Grid, names: Sequence[str], layers: Sequence[Layer], scale: float, resampling: str,
                mask: StacMask) -> None:
    """Write reflectance * scale as float32 with NaN nodata: the one layer, or the median of several by pixel and band.

    Raises:
        SceneError: no pixel has data.
    """
    rows = max(1, _BUDGET_BYTES // (len(layers) * len(names) * grid.width * 4) // _STRIP) * _STRIP
    complete, total = 0, grid.height * grid.width
    with ExitStack() as stack:
        readers = [LayerReader(stack, layer, grid, resampling, mask) for layer in layers]
        writer = stack.enter_context(raster_io.create(out, grid, np.float32, names, float("nan"),
                                                      profile={"compress": "deflate", "blockysize": str(_STRIP)}))
        for window in row_bands(grid.height, grid.width, rows):
            values = [reader.read(window) for reader in readers]
            pixels = values[0] if len(values) == 1 else median(np.stack(values))
            complete += int(np.isfinite(pixels).all(axis=-1).sum())
            writer.write(pixels * np.float32(scale), window)
        if not complete:
            raise SceneError(f"scene {out.stem} must have pixels with data in all bands: all {total} are nodata or "
                             "left out by acquire.stac.mask; choose another time, or mask less")
    if complete < total / 100:
        warnings.warn(f"scene {out.stem} has data in all bands at only {complete} of {total} pixels", stacklevel=2)


def median(stack_NHWB: FloatArray) -> FloatArray:
    """The median over items of what is not NaN, HWB; of an even number the mean of the two middle ones."""
    ordered = np.sort(stack_NHWB, axis=0)  # NaN come last
    count = np.isfinite(ordered).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(ordered) - 1)
    middle = (np.take_along_axis(ordered, low[None], 0)[0] + np.take_along_axis(ordered, high[None], 0)[0])
    found: FloatArray = np.where(count > 0, middle / np.float32(2), np.float32("nan")).astype(np.float32)
    return found
