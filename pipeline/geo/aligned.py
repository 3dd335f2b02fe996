"""Read bands of any raster as they look on one grid, each pixel with whether it holds data.

Resampling never mixes pixels without data into others: not the declared value, nor another that means the same (0), nor
what the file's mask leaves out, nor undeclared 3.4e38 or NaN.
Shape legend: H rows, W columns, B bands.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

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
#: GDAL's names of the types of pixels.
_GDAL_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
               "int32": "Int32", "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64"}


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
                 nodata: float | None, dtype: str | None = None, also: float | None = None) -> Iterator[AlignedReader]:
    """Open some bands of a file on a grid, read window by window.

    Args:
        path: the raster.
        bands: counted from 1; one band where the grids differ.
        grid: the grid to read on.
        own_grid: the file's grid, with the CRS it is taken to have.
        resampling: `nearest` or `bilinear`, where the grids differ (bilinear averages where pixels become larger).
        nodata: the value that means no data, besides NaN, infinity and absurdly large values.
        dtype: type to resample in, such as float32 to keep fractions; the file's own without.
        also: another value that is kept out of resampling; on the file's own grid it is left to the caller.

    Raises:
        SceneError: GDAL cannot open the file, or it marks missing pixels in several ways and has to be resampled.
    """
    if own_grid == grid:
        with raster_io.open_windows(path) as reader:
            yield AlignedReader(reader, None, bands, nodata, str(path))
        return
    source, fill = _one_marker(path, bands, nodata, also)
    with ExitStack() as stack:
        stack.enter_context(raster_io.open_windows(path))  # answers for a file that cannot be opened
        dataset = stack.enter_context(rasterio.open(source))
        warped = stack.enter_context(WarpedVRT(
            dataset, src_crs=RasterioCRS.from_wkt(own_grid.crs_wkt), crs=RasterioCRS.from_wkt(grid.crs_wkt),
            transform=grid.transform, height=grid.height, width=grid.width, resampling=Resampling[resampling],
            src_nodata=fill, add_alpha=True, **({"dtype": dtype} if dtype else {})))
        yield AlignedReader(None, warped, bands, nodata, str(path))


def _one_marker(path: Path, bands: Sequence[int], nodata: float | None, also: float | None) -> tuple[str, float | None]:
    """What GDAL is to read and the one value in it that marks every missing pixel, as it heeds no second one.

    The warper heeds a nodata value or the file's mask, not both, so the other ways of missing are turned into the first
    by virtual rasters over the file: pixels a VRT source leaves out take the VRT's nodata value
    (https://gdal.org/en/stable/drivers/raster/vrt.html, ComplexSource).
    """
    fill = _marker(path, bands, nodata)
    info = raster_io.describe(path)
    other = fitting_nodata(also, np.dtype(info.dtype))
    if fill is None:
        fill, other = other, None
    source = str(path)
    if fill is None:
        return source, None  # GDAL heeds the mask
    with raster_io.open_windows(path) as reader:
        if reader.mask(Window(0, 0, 1, 1)) is not None:
            source = _leaving_out("<UseMaskBand>true</UseMaskBand>", source, info, fill)
    if other is not None and other != fill:
        source = _leaving_out(f"<NODATA>{other!r}</NODATA>", source, info, fill)
    return source, fill


def _leaving_out(what: str, source: str, info: raster_io.RasterInfo, fill: float) -> str:
    """A VRT of a raster of one band, in which `fill` stands wherever a pixel is left out."""
    grid = info.grid
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    return (f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">'
            f"<GeoTransform>{c!r},{a!r},{b!r},{f!r},{d!r},{e!r}</GeoTransform>"
            f'<VRTRasterBand dataType="{_GDAL_TYPES[info.dtype]}" band="1"><NoDataValue>{fill!r}</NoDataValue>'
            f'<ComplexSource><SourceFilename relativeToVRT="0">{escape(source)}</SourceFilename>'
            f"<SourceBand>1</SourceBand>{what}</ComplexSource></VRTRasterBand></VRTDataset>")


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
