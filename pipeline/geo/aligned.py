"""Read bands of any raster as they look on one grid, each pixel with whether it holds data.

Resampling never mixes pixels without data into others: not the declared value, nor undeclared 3.4e38 or NaN.
Shape legend: H rows, W columns, B bands.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.geo.windows import row_bands
from pipeline.types import AnyArray, BoolArray, Window

_ROWS = 256


class AlignedReader:
    """Reads windows of some bands of one file on a grid."""

    def __init__(self, own: raster_io.WindowReader | None, warped: WarpedVRT | None, bands: Sequence[int],
                 nodata: float | None, name: str) -> None:
        self._own, self._warped, self._bands, self._nodata, self._name = own, warped, list(bands), nodata, name

    def may_miss(self) -> bool:
        """False where it is sure, without reading, that every (integer) pixel holds data."""
        return (self._own is None or self._nodata is not None
                or self._own.mask(Window(0, 0, 1, 1)) is not None)

    def read(self, window: Window) -> tuple[AnyArray, BoolArray]:
        """Pixels HWB, and where they hold data, HWB.

        Raises:
            SceneError: the file's pixels cannot be read.
        """
        if self._own is not None:
            pixels = np.ascontiguousarray(np.moveaxis(self._own.read(window, self._bands), 0, -1))
            data = has_data(pixels, self._nodata)
            if (mask := self._own.mask(window)) is not None:
                data &= mask[..., np.newaxis]
            return pixels, data
        assert self._warped is not None
        area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            read = self._warped.read([*self._bands, self._warped.count], window=area)
        except RasterioError as error:
            raise SceneError(f"raster {self._name} must have pixels GDAL can read: {' '.join(str(error).split())}; "
                             "the file may be damaged or incomplete, copy it again") from error
        pixels = np.ascontiguousarray(np.moveaxis(read[:-1], 0, -1))
        return pixels, has_data(pixels, None) & (read[-1] > 0)[..., np.newaxis]


@contextmanager
def open_aligned(path: Path, bands: Sequence[int], grid: Grid, own_grid: Grid, resampling: str,
                 nodata: float | None, dtype: str | None = None) -> Iterator[AlignedReader]:
    """Open some bands of a file on a grid, read window by window.

    Args:
        path: the raster.
        bands: counted from 1; one band where the grids differ.
        grid: the grid to read on.
        own_grid: the file's grid, with the CRS it is taken to have.
        resampling: `nearest` or `bilinear`, where the grids differ (bilinear averages where pixels become larger).
        nodata: the value that means no data, besides NaN, infinity and absurdly large values.
        dtype: type to resample in, such as float32 to keep fractions; the file's own without.

    Raises:
        SceneError: GDAL cannot open the file, or it marks missing pixels in several ways and has to be resampled.
    """
    if own_grid == grid:
        with raster_io.open_windows(path) as reader:
            yield AlignedReader(reader, None, bands, nodata, str(path))
        return
    fill = _marker(path, bands, nodata)
    with ExitStack() as stack:
        stack.enter_context(raster_io.open_windows(path))  # answers for a file that cannot be opened
        dataset = stack.enter_context(rasterio.open(path))
        warped = stack.enter_context(WarpedVRT(
            dataset, src_crs=RasterioCRS.from_wkt(own_grid.crs_wkt), crs=RasterioCRS.from_wkt(grid.crs_wkt),
            transform=grid.transform, height=grid.height, width=grid.width, resampling=Resampling[resampling],
            src_nodata=fill, add_alpha=True, **({"dtype": dtype} if dtype else {})))
        yield AlignedReader(None, warped, bands, nodata, str(path))


def _marker(path: Path, bands: Sequence[int], nodata: float | None) -> float | None:
    """The one finite value that GDAL must keep out of resampling (NaN keeps itself out)."""
    info = raster_io.describe(path)
    dtype = np.dtype(info.dtype)
    if dtype.kind != "f":
        return fitting_nodata(nodata, dtype)
    found = {float(dtype.type(nodata))} if nodata is not None and np.isfinite(nodata) else set()
    with raster_io.open_windows(path) as reader:
        for window in row_bands(info.grid.height, info.grid.width, _ROWS):
            pixels = reader.read(window, bands)
            absurd = pixels[~has_data(pixels, None) & np.isfinite(pixels)]
            found |= {float(value) for value in np.unique(absurd)}
    if len(found) > 1:
        raise SceneError(f"raster {path} must mark missing pixels in one way where it is resampled: got "
                         f"{[f'{value:g}' for value in sorted(found)]}; replace them by one value")
    return next(iter(found), None)
