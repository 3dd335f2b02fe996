"""The pixels of any raster GDAL opens, as a model wants them: bands by name, NaN where invalid, by window."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid, parse_crs
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.geo.raster_io import WindowReader, describe, open_windows
from pipeline.types import BoolArray, FloatArray, Window

#: What --zeros may say.
ZEROS = ("refuse", "nodata", "data")


@dataclass(frozen=True)
class RasterValues:
    """What the values of a raster mean, as far as the file leaves it unsaid."""

    #: Factor from the file's values to scene units.
    scale: float = 1.0
    #: reflectance = (value + offset) / quantification, in place of `scale`; 0 is then nodata unless zeros are data.
    offset: float = 0.0
    #: 0: values are not digital numbers.
    quantification: float = 0.0
    #: Means no data, besides NaN and +-3.4e38; None trusts the file.
    nodata: float | None = None
    #: Pixels of 0 in every band where no nodata is declared: data, no data, or refuse a scene with many at its edge.
    zeros: str = "refuse"

    def check(self) -> None:
        """See that the settings go together.

        Raises:
            SceneError: they do not.
        """
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise SceneError(f"--scale must be a number above 0: got {self.scale:g}")
        if not (math.isfinite(self.quantification) and self.quantification >= 0):
            raise SceneError(f"--quantification must be 0 or a number above: got {self.quantification:g}")
        if self.offset and not self.quantification:
            raise SceneError(
                f"--offset must come with --quantification: got offset {self.offset:g} alone; "
                "reflectance is (value + offset) / quantification"
            )
        if not math.isfinite(self.offset):
            raise SceneError(f"--offset must be a finite number: got {self.offset:g}")
        if self.quantification and self.scale != 1.0:
            raise SceneError(
                f"--scale must be left out beside --quantification, which leads to the model's units: got "
                f"{self.scale:g}; remove one"
            )
        if self.zeros not in ZEROS:
            raise SceneError(f"--zeros must be one of {', '.join(ZEROS)}: got {self.zeros!r}")
        if self.nodata is not None and not math.isfinite(self.nodata):
            raise SceneError(f"--nodata must be a finite number, as others never count as data: got {self.nodata:g}")


@dataclass(frozen=True)
class RasterPixels:
    """Chosen bands of one open raster; a pixel that lacks data in one band is invalid in all."""

    grid: Grid
    bands: tuple[str, ...]
    #: Places of `bands` in the file, from 1.
    indexes: tuple[int, ...]
    values: RasterValues
    #: Scene values of reflectance 1.
    reflectance_scale: float
    #: The nodata value of each chosen band, None where there is none.
    nodatas: tuple[float | None, ...]
    #: Whether zeros at the edge may be missing ground, which nobody has said.
    asks_about_zeros: bool
    reader: WindowReader

    def read(self, window: Window) -> FloatArray:
        """float32 CHW scene values of a window inside the grid; NaN means invalid."""
        raw, values = self.reader.read(window, self.indexes), self.values
        valid = np.all([has_data(band, nodata) for band, nodata in zip(raw, self.nodatas, strict=True)], axis=0)
        if (mask := self.reader.mask(window)) is not None:
            valid &= mask
        if values.quantification and values.zeros != "data":
            valid &= (raw != 0).all(axis=0)
        elif values.zeros == "nodata":
            valid &= (raw != 0).any(axis=0)
        if values.quantification:  # in double precision, as acquire does it
            raw = np.where(valid, raw, 0).astype(np.float64)
            raw = (raw + values.offset) / values.quantification * self.reflectance_scale
        image: FloatArray = raw.astype(np.float32)
        image[:, ~valid] = np.nan  # before scaling, which would overflow on a nodata value of 3.4e38
        if values.scale != 1.0:
            image *= np.float32(values.scale)
        return image

    def valid(self, window: Window) -> BoolArray:
        """Where every chosen band has data, boolean HW."""
        return np.asarray(~np.isnan(self.read(window)).any(axis=0), dtype=np.bool_)


@contextmanager
def open_pixels(
    path: Path,
    wanted: Sequence[str],
    names: Sequence[str] = (),
    values: RasterValues | None = None,
    crs: str = "",
    reflectance_scale: float = 1.0,
) -> Iterator[RasterPixels]:
    """Open a raster once, as a source of the wanted bands in that order.

    Args:
        path: the raster.
        wanted: band names.
        names: all of the file's bands in order; () takes its band descriptions.
        values: what its values mean; None takes them as they are.
        crs: replaces a missing CRS.
        reflectance_scale: scene values of reflectance 1, for values that are digital numbers.

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
    indexes = tuple(bands.index(b) + 1 for b in wanted)
    values = values or RasterValues()
    nodatas = tuple(info.nodatas[i - 1] if values.nodata is None else values.nodata for i in indexes)
    fitting = [fitting_nodata(n, np.dtype(info.dtypes[i - 1])) for i, n in zip(indexes, nodatas, strict=True)]
    undeclared = all(value is None for value in fitting)
    if values.nodata is not None and undeclared:
        warnings.warn(
            f"--nodata {values.nodata:g} marks no pixel of scene {path.name}: {info.dtype} pixels never have it",
            stacklevel=3,
        )
    asks = undeclared and values.zeros == "refuse" and not values.quantification
    with open_windows(path) as reader:
        yield RasterPixels(grid, tuple(wanted), indexes, values, reflectance_scale, nodatas, asks, reader)


def _band_names(scene: str, descriptions: Sequence[str | None], names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return tuple(d or f"unnamed {i}" for i, d in enumerate(descriptions, 1))
    if len(names) != len(descriptions):
        raise SceneError(
            f"--bands must name all {len(descriptions)} bands of scene {scene} in order: got {list(names)}"
        )
    return tuple(names)
