"""The pixels of any raster GDAL opens, as a model wants them: bands by name, NaN where invalid, by window."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid, parse_crs
from pipeline.geo.nodata import has_data
from pipeline.geo.raster_io import WindowReader, describe, open_windows
from pipeline.types import BoolArray, FloatArray, Window


@dataclass(frozen=True)
class RasterPixels:
    """Chosen bands of one open raster; a pixel that lacks data in one band is invalid in all."""

    grid: Grid
    bands: tuple[str, ...]
    #: Places of `bands` in the file, from 1.
    indexes: tuple[int, ...]
    #: Factor from the file's values to scene units.
    scale: float
    #: The file's nodata value, if it declares one.
    nodata: float | None
    reader: WindowReader

    def read(self, window: Window) -> FloatArray:
        """float32 CHW scene values of a window inside the grid; NaN means invalid."""
        raw = self.reader.read(window, self.indexes)
        valid = has_data(raw, self.nodata).all(axis=0)
        if (mask := self.reader.mask(window)) is not None:
            valid &= mask
        image: FloatArray = raw.astype(np.float32)
        image[:, ~valid] = np.nan  # before scaling, which would overflow on a nodata value of 3.4e38
        if self.scale != 1.0:
            image *= np.float32(self.scale)
        return image

    def valid(self, window: Window) -> BoolArray:
        """Where every chosen band has data, boolean HW."""
        return np.asarray(~np.isnan(self.read(window)).any(axis=0), dtype=np.bool_)


@contextmanager
def open_pixels(
    path: Path, wanted: Sequence[str], names: Sequence[str] = (), scale: float = 1.0, crs: str = ""
) -> Iterator[RasterPixels]:
    """Open a raster once, as a source of the wanted bands in that order.

    Args:
        path: the raster.
        wanted: band names.
        names: all of the file's bands in order; () takes its band descriptions.
        scale: factor from the file's values to scene units.
        crs: replaces a missing CRS.

    Raises:
        SceneError: GDAL cannot open it, it has no CRS, or it lacks a band.
    """
    info = describe(path)
    grid = info.grid
    if not grid.crs_wkt:
        if not crs:
            raise SceneError(
                f"scene {path.name} must have a CRS: got none; pass --crs, such as --crs EPSG:32748"
            )
        grid = replace(grid, crs_wkt=parse_crs(crs, "--crs").to_wkt())
    bands = _band_names(path.name, info.bands, names)
    if missing := [b for b in wanted if b not in bands]:
        raise SceneError(
            f"scene {path.name} must have the model's bands {list(wanted)}: {missing} missing among "
            f"{list(bands)}; name the file's bands in order with --bands"
        )
    if twice := [b for b in wanted if bands.count(b) > 1]:
        raise SceneError(
            f"scene {path.name} must have each band once: {twice} occur more often among {list(bands)}; "
            "name the file's bands in order with --bands"
        )
    with open_windows(path) as reader:
        indexes = tuple(bands.index(b) + 1 for b in wanted)
        yield RasterPixels(grid, tuple(wanted), indexes, scale, info.nodata, reader)


def _band_names(scene: str, descriptions: Sequence[str | None], names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return tuple(d or f"unnamed {i}" for i, d in enumerate(descriptions, 1))
    if len(names) != len(descriptions):
        raise SceneError(
            f"--bands must name all {len(descriptions)} bands of scene {scene} in order: got {list(names)}"
        )
    return tuple(names)
