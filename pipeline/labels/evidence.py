"""What the rules' indices say of a scene, row band by row band: values, thresholds, and which rule holds where."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.features.indices import compute, index_bands
from pipeline.geo import raster_io
from pipeline.geo.nodata import has_data
from pipeline.geo.scratch import scratch_array
from pipeline.geo.windows import row_bands
from pipeline.labels.otsu import Histogram
from pipeline.labels.threads import thread_count
from pipeline.params.refine_labels import IndexRule
from pipeline.types import AnyArray, BoolArray, FloatArray, Window

#: Bands have as many rows as most tiled files have in a tile, so that no tile is decoded twice; of very wide scenes
#: fewer, so that no band has more pixels than this.
_ROWS, _BAND_PX = 256, 1 << 22


@dataclass(frozen=True)
class Evidence:
    """A scene as its rules see it.

    Attributes:
        scene: the raw scene.
        rules: the rules.
        reflectance_scale: digital numbers / this = reflectance.
    """

    scene: Path
    rules: tuple[IndexRule, ...]
    reflectance_scale: float

    def values(self, rules: Sequence[IndexRule]) -> Iterator[tuple[Window, list[FloatArray]]]:
        """Indices of the rules over row bands, float32 HW each; NaN where a needed band has no data.

        Raises:
            ParamsError: there is no such index.
            SceneError: the scene lacks a band that an index needs.
        """
        info = raster_io.describe(self.scene)
        names = [band or "" for band in info.bands]
        needed = [tuple(index_bands(rule.index, names).values()) for rule in rules]
        bands = sorted({name for own in needed for name in own}, key=names.index)
        places = [[bands.index(name) for name in own] for own in needed]

        def look(reader: raster_io.WindowReader, window: Window) -> tuple[Window, list[FloatArray]]:
            pixels = reader.read(window, [names.index(band) + 1 for band in bands])
            scaled = np.divide(pixels, np.float32(self.reflectance_scale), dtype=np.float32)
            np.copyto(scaled, np.nan, where=~has_data(pixels, info.nodata))
            return window, [compute(rule.index, np.moveaxis(scaled[own], 0, -1), name)
                            for rule, own, name in zip(rules, places, needed, strict=True)]

        windows = row_bands(info.grid.height, info.grid.width, min(_ROWS, max(1, _BAND_PX // info.grid.width)))
        with ExitStack() as stack:
            readers = [stack.enter_context(raster_io.open_windows(self.scene)) for _ in range(thread_count())]
            pool = stack.enter_context(ThreadPoolExecutor(len(readers)))
            while group := list(islice(windows, len(readers))):
                yield from pool.map(look, readers, group)

    def thresholds(self) -> tuple[float, ...]:
        """Each rule's threshold: as it is fixed, or by Otsu's method over all pixels of the scene that have data.

        Raises:
            SceneError: Otsu's threshold lies outside the declared bounds, or there is none.
        """
        searched = [rule for rule in self.rules if rule.method == "otsu"]
        histograms = [Histogram() for _ in searched]
        for _, indices in self.values(searched) if searched else ():
            for histogram, values in zip(histograms, indices, strict=True):
                histogram.add(values)
        found = iter([self._within_bounds(rule, h) for rule, h in zip(searched, histograms, strict=True)])
        return tuple(next(found) if rule.method == "otsu" else rule.fixed_threshold for rule in self.rules)

    def _within_bounds(self, rule: IndexRule, histogram: Histogram) -> float:
        low, high = rule.declared_bounds
        which = f"refine_labels.rules[{self.rules.index(rule)}].bounds"
        threshold = histogram.threshold()
        if threshold is None:
            raise SceneError(f"Otsu's threshold needs two values of {rule.index} at least: scene {self.scene.stem} has "
                             "fewer where there is data; set method: fixed, or leave the scene out")
        if not low <= threshold <= high:
            raise SceneError(f"Otsu's threshold of {rule.index} must lie within {which} [{low:g}, {high:g}]: scene "
                             f"{self.scene.stem} gives {threshold:.4g}, as where there is little {rule.target}; "
                             "widen the bounds if that is right, or set method: fixed with a threshold")
        return threshold

    def holds(self, thresholds: Sequence[float]) -> AnyArray:
        """Bit k is set where rule k holds: unsigned integers HW in a memory map that vanishes with the array."""
        grid = raster_io.describe(self.scene).grid
        bits = scratch_array(grid.shape, f"u{next(size for size in (1, 2, 4, 8) if len(self.rules) <= 8 * size)}")
        for window, indices in self.values(self.rules) if self.rules else ():
            held = np.zeros((window.height, window.width), dtype=bits.dtype)
            for k, (rule, values, threshold) in enumerate(zip(self.rules, indices, thresholds, strict=True)):
                held |= np.multiply(beyond(values, rule.side, threshold), bits.dtype.type(1 << k))
            bits[window.slices] = held
        return bits


def beyond(values: FloatArray, side: str, threshold: float) -> BoolArray:
    """Where values lie above (or below) the threshold; NaN lies nowhere."""
    result: BoolArray = values > threshold if side == "above" else values < threshold
    return result
