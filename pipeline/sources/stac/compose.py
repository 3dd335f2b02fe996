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
from pipeline.geo.aligned import open_aligned
from pipeline.geo.grid import Grid
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
        self._grid, self._mask = grid, mask
        self._readers = []
        for cut_out, known in layer.bands:
            own = raster_io.describe(cut_out.path).grid
            reader = stack.enter_context(open_aligned(cut_out.path, [1], grid, own, resampling, known.nodata, "float32",
                                                      0.0 if known.is_applied else None))
            self._readers.append((reader, known, own == grid))
        self._halo = halo(grid, mask.dilate_m)
        self._classes = None
        #: Pixels with data of which the mask does not say what they are, so far.
        self.unknown = 0
        if layer.mask is not None:
            own, stated = raster_io.describe(layer.mask.path).grid, layer.mask.info.nodata
            self._classes = stack.enter_context(
                open_aligned(layer.mask.path, [1], padded(grid, self._halo), own, "nearest",
                             None if stated in mask.values else stated))

    def read(self, window: Window) -> FloatArray:
        """Reflectance HWB float32, NaN in all bands where one has no data or the mask leaves the pixel out.

        What lies beyond the mask's asset, or where it has its own nodata value, is left out too: nobody knows it clear.
        """
        values = np.empty((window.height, window.width, len(self._readers)), dtype=np.float32)
        for i, (reader, known, as_it_is) in enumerate(self._readers):
            numbers, data = (array[..., 0] for array in reader.read(window))
            if as_it_is:  # where it is resampled, a number may come to 0 between others
                data = data & known.has_data(numbers)
            values[..., i] = np.where(data, known.reflectance(numbers), np.float32("nan"))
        empty = np.isnan(values).any(axis=-1)
        masked, unknown = self._masked(window)
        self.unknown += int((unknown & ~masked & ~empty).sum())
        values[empty | masked | unknown] = np.nan
        return values

    def _masked(self, window: Window) -> tuple[BoolArray, BoolArray]:
        """Where the mask leaves pixels out, and where it does not say what they are, both HW."""
        if self._classes is None:
            none = np.zeros((window.height, window.width), dtype=np.bool_)
            return none, none
        rows, cols = self._halo
        around = Window(window.row, window.col, window.height + 2 * rows, window.width + 2 * cols)
        classes, known = self._classes.read(around)
        hit: BoolArray = np.isin(classes[..., 0], self._mask.values) & known[..., 0]
        unknown = ~known[..., 0]
        if self._mask.dilate_m and hit.any():
            width, height = self._grid.ground_pixel_m
            hit = distance_transform_edt(~hit, sampling=(height, width)) <= self._mask.dilate_m
        inner = slice(rows, rows + window.height), slice(cols, cols + window.width)
        return hit[inner], unknown[inner]


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
    for layer, reader in zip(layers, readers, strict=True):
        if reader.unknown:
            warnings.warn(f"mask {mask.asset} of item {layer.item} says nothing of {reader.unknown} pixels of scene "
                          f"{out.stem} that have data: they are left out", stacklevel=2)
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
