"""Reading and writing rasters: the only module that opens them.

Arrays in memory are HW for one band and HWB (bands last) for several, as in the memory-mapped store.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.shutil import copy as gdal_copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.paths import staged_file
from pipeline.types import AnyArray, BoolArray, Window


@dataclass(frozen=True)
class RasterInfo:
    """What a raster file says of itself. `nodata` is None where it declares none (NaN is a value like others)."""

    grid: Grid
    count: int
    dtype: str
    bands: tuple[str | None, ...]
    nodata: float | None
    tags: Mapping[str, str]
    #: Of each band, which may differ in a VRT; `dtype` and `nodata` are the first one's.
    dtypes: tuple[str, ...] = ()
    nodatas: tuple[float | None, ...] = ()


#: Bytes of the blocks GDAL keeps: without a limit of its own it takes a twentieth of the machine's memory.
_CACHE_BYTES = 64 * 2**20


@contextmanager
def _open(path: Path) -> Iterator[DatasetReader]:
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(path)
        except RasterioError as error:
            reason = "no such file" if not Path(path).exists() else str(error)
            raise SceneError(f"raster {path} must be a file GDAL can open: {reason}") from error
        with dataset:
            yield dataset


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Name the file whose pixels cannot be read, as where it was cut short."""
    try:
        yield
    except RasterioError as error:
        raise SceneError(f"raster {path} must have pixels GDAL can read: {' '.join(str(error).split())}; "
                         "the file may be damaged or incomplete, copy it again") from error


def _grid(dataset: DatasetReader) -> Grid:
    wkt = dataset.crs.to_wkt() if dataset.crs else ""
    return Grid(wkt, dataset.transform, dataset.height, dataset.width)


def describe(path: Path) -> RasterInfo:
    """Geometry, bands and declarations of a raster, without reading pixels.

    Raises:
        SceneError: GDAL cannot open the file.
    """
    with _open(path) as dataset:
        dtype = dataset.dtypes[0] if dataset.count else ""
        return RasterInfo(_grid(dataset), dataset.count, dtype, dataset.descriptions, dataset.nodata,
                          dict(dataset.tags()), dataset.dtypes, dataset.nodatavals)


def read(path: Path, window: Window | None = None, bands: Sequence[int] | None = None) -> AnyArray:
    """Pixels as HWB (HW for a file of one band, or one band in `bands`); `bands` count from 1.

    Raises:
        SceneError: GDAL cannot open the file.
    """
    with _open(path) as dataset, _reading(str(path)):
        indexes = list(bands) if bands is not None else list(dataset.indexes)
        data: AnyArray = dataset.read(indexes, window=_rio_window(window))
    return data[0] if len(indexes) == 1 else np.ascontiguousarray(np.moveaxis(data, 0, -1))


def _rio_window(window: Window | None) -> RasterioWindow | None:
    return None if window is None else RasterioWindow(window.col, window.row, window.width, window.height)


class WindowReader:
    """Reads windows of one open raster."""

    def __init__(self, dataset: DatasetReader) -> None:
        self._dataset = dataset

    def read(self, window: Window, bands: Sequence[int]) -> AnyArray:
        """Pixels of a window inside the raster as BHW (bands first), in the file's dtype; `bands` count from 1."""
        with _reading(self._dataset.name):
            data: AnyArray = self._dataset.read(list(bands), window=_rio_window(window))
        return data

    def mask(self, window: Window) -> BoolArray | None:
        """True where the file's mask or alpha band says there is data, shape HW; None where it has neither."""
        if MaskFlags.per_dataset not in self._dataset.mask_flag_enums[0]:
            return None
        with _reading(self._dataset.name):
            mask: BoolArray = self._dataset.read_masks(1, window=_rio_window(window)) != 0
        return mask


@contextmanager
def open_windows(path: Path) -> Iterator[WindowReader]:
    """Open a raster once to read it window by window on its own grid.

    Raises:
        SceneError: GDAL cannot open the file.
    """
    with _open(path) as dataset:
        yield WindowReader(dataset)


class WarpedReader:
    """Reads windows of a raster as they look on another grid; pixels outside the source are `nodata`."""

    def __init__(self, dataset: WarpedVRT, name: str, nearest: WarpedVRT | None = None) -> None:
        self._dataset, self._name, self._nearest = dataset, name, nearest

    def read(self, window: Window, bands: Sequence[int]) -> AnyArray:
        """Pixels of the window as HWB, in the source's dtype unless another was asked for."""
        with _reading(self._name):
            data: AnyArray = self._dataset.read(list(bands), window=_rio_window(window))
            if self._nearest is not None:
                under = self._nearest.read(list(bands), window=_rio_window(window))
                np.copyto(data, under, where=~has_data(under, self._nearest.nodata))
        return np.ascontiguousarray(np.moveaxis(data, 0, -1))


@contextmanager
def open_on_grid(path: Path, grid: Grid, resampling: str, source_crs: str = "", nodata: float | None = None,
                 dtype: str | None = None) -> Iterator[WarpedReader]:
    """Open a raster warped to `grid` (`nearest`, `bilinear` or `average`), read window by window.

    Args:
        path: the raster.
        grid: the grid to read on.
        resampling: GDAL's name of the method.
        source_crs: replaces the file's CRS.
        nodata: replaces the file's nodata; pixels of this value never mix with others, in each band by itself, and
            where one lies under a pixel's centre, its bilinear neighbours do not fill it.
        dtype: working and result type.
    """
    with _open(path) as dataset, ExitStack() as stack:
        fill = nodata if nodata is not None else dataset.nodata
        # Left alone, GDAL takes a pixel of several bands for nodata only where all of them are, and mixes the others.
        options = {"UNIFIED_SRC_NODATA": "NO", **({"dtype": dtype} if dtype else {})}

        def warped(method: str) -> WarpedVRT:
            return stack.enter_context(WarpedVRT(
                dataset, crs=RasterioCRS.from_wkt(grid.crs_wkt) if grid.crs_wkt else None,
                src_crs=RasterioCRS.from_user_input(source_crs) if source_crs else None, transform=grid.transform,
                height=grid.height, width=grid.width, resampling=Resampling[method], src_nodata=fill, nodata=fill,
                **options))

        nearest = warped("nearest") if resampling == "bilinear" and fill is not None else None
        yield WarpedReader(warped(resampling), str(path), nearest)


class RasterWriter:
    """Writes windows of one open raster."""

    def __init__(self, dataset: DatasetWriter) -> None:
        self._dataset = dataset

    def write(self, data: AnyArray, window: Window) -> None:
        """Write HW or HWB pixels at a window inside the raster."""
        bands_first = data[np.newaxis] if data.ndim == 2 else np.moveaxis(data, -1, 0)
        self._dataset.write(bands_first, window=_rio_window(window))


@contextmanager
def create(path: Path, grid: Grid, dtype: npt.DTypeLike, bands: Sequence[str], nodata: float | None = None,
           tags: Mapping[str, str] | None = None, colormap: Mapping[int, tuple[int, int, int]] | None = None,
           profile: Mapping[str, str] | None = None) -> Iterator[RasterWriter]:
    """Create a GeoTIFF to write window by window; it appears under its name when the block ends well.

    By default the file is uncompressed, pixel-interleaved and in strips, so that rows written from top to bottom lie
    contiguously and `memory_map` can open it. `profile` overrides creation options (`compress`, `tiled`, ...).
    """
    # GDAL puts off strips of nothing but nodata (or 0) to the end of the file, unless it is told to write them in turn.
    options = {"interleave": "pixel", "bigtiff": "if_safer", "compress": "none",
               "@WRITE_EMPTY_TILES_SYNCHRONOUSLY": "YES", **(profile or {})}
    with staged_file(path) as partial, warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(partial, "w", driver="GTiff", height=grid.height, width=grid.width, count=len(bands),
                           dtype=np.dtype(dtype).name, transform=grid.transform, nodata=nodata,
                           crs=RasterioCRS.from_wkt(grid.crs_wkt) if grid.crs_wkt else None, **options) as dataset:
            if tags:
                dataset.update_tags(**tags)
            for i, band in enumerate(bands, 1):
                dataset.set_band_description(i, band)
            if colormap:
                dataset.write_colormap(1, dict(colormap))
            elif len(bands) > 1:
                dataset.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (len(bands) - 1)]
            yield RasterWriter(dataset)


def write(path: Path, data: AnyArray, grid: Grid, bands: Sequence[str], nodata: float | None = None,
          tags: Mapping[str, str] | None = None, colormap: Mapping[int, tuple[int, int, int]] | None = None,
          profile: Mapping[str, str] | None = None) -> None:
    """Write a whole array at once; see `create`."""
    with create(path, grid, data.dtype, bands, nodata, tags, colormap, profile) as writer:
        writer.write(data, Window(0, 0, grid.height, grid.width))


def write_cog(path: Path, source: Path, resampling: str, tags: Mapping[str, str] | None = None) -> None:
    """Copy a GeoTIFF to a Cloud Optimized GeoTIFF (512 px blocks, deflate, overviews by `resampling`).

    `tags` are put into the source first, because a COG must not be edited afterwards.
    """
    if tags:
        with rasterio.open(source, "r+") as dataset:
            dataset.update_tags(**tags)
    with staged_file(path) as partial, rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        gdal_copy(source, partial, driver="COG", compress="deflate", overview_resampling=resampling,
                  resampling=resampling, bigtiff="if_safer")


@dataclass(frozen=True)
class CogLayout:
    """How a GeoTIFF lies on disk: GDAL's name of the layout ("COG" for a valid one), block sides, overview factors."""

    layout: str
    block_shape: tuple[int, int]
    overviews: tuple[int, ...]
    colormap: Mapping[int, tuple[int, int, int, int]] | None


def cog_layout(path: Path) -> CogLayout:
    """The layout of band 1 as GDAL sees it (it names a file COG only while the order of its parts is intact).

    Raises:
        SceneError: GDAL cannot open the file.
    """
    with _open(path) as dataset:
        rows, cols = dataset.block_shapes[0]
        has_table = dataset.colorinterp[0] == ColorInterp.palette
        layout = dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT", "")
        return CogLayout(layout, (rows, cols), tuple(dataset.overviews(1)),
                         dict(dataset.colormap(1)) if has_table else None)


def memory_map(path: Path) -> AnyArray:
    """A read-only numpy view of an uncompressed, contiguous GeoTIFF: HW for one band, HWB for several.

    Raises:
        SceneError: the file is compressed, tiled or its strips are not contiguous.
    """
    with _open(path) as dataset:
        rule = f"raster {path} must be an uncompressed, pixel-interleaved, contiguous GeoTIFF to be memory-mapped"
        height, width, count = dataset.height, dataset.width, dataset.count
        interleave = dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "PIXEL")
        tiled = dataset.block_shapes[0][1] != width
        if dataset.compression is not None or tiled or (count > 1 and interleave != "PIXEL"):
            raise SceneError(f"{rule}: got compression {dataset.compression}, tiled {tiled}, {interleave}; "
                             "rerun rasterize")
        dtype = np.dtype(dataset.dtypes[0])
        strip_rows = dataset.block_shapes[0][0]
        strips = math.ceil(height / strip_rows)
        offsets = [dataset.get_tag_item(f"BLOCK_OFFSET_0_{i}", "TIFF", bidx=1) for i in (0, strips - 1)]
        strip_bytes = strip_rows * width * count * dtype.itemsize
        if None in offsets or int(offsets[1]) - int(offsets[0]) != (strips - 1) * strip_bytes:
            raise SceneError(f"{rule}: its strips are scattered; rerun rasterize")
    shape = (height, width) if count == 1 else (height, width, count)
    return np.memmap(path, dtype=dtype, mode="r", offset=int(offsets[0]), shape=shape)
