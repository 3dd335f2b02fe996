"""Windows of rasters behind http(s) or in object stores, through GDAL's range requests: only what is asked for travels.

Why not odc-stac: what is kept here are the source's own pixels, one asset and one band of rows at a time, so that an
interrupted acquisition goes on where it stopped, each failure names its asset, and a remote scene passes through the
same resampling as a local one (geo/aligned.py).
"""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.types import AnyArray, Window

_SCHEMES = {"http://": "/vsicurl/http://", "https://": "/vsicurl/https://", "s3://": "/vsis3/", "gs://": "/vsigs/",
            "az://": "/vsiaz/"}
_LOG = logging.getLogger("rasterio._env")
_STATUS = re.compile(r"(?:HTTP response code|HTTP error code|response_code)\D{0,4}(\d{3})")


class RemoteError(SceneError):
    """A remote raster could not be read; `status` is the HTTP status where GDAL tells, else 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RemoteInfo:
    """What the header of a remote raster says.

    `nodata` is None where it declares none (NaN is a value like others); `block_rows` is the height of its tiles.
    """

    grid: Grid
    count: int
    dtype: str
    nodata: float | None
    block_rows: int


class RemoteReader:
    """Reads windows of one open remote raster."""

    def __init__(self, dataset: DatasetReader) -> None:
        self._dataset = dataset

    @property
    def info(self) -> RemoteInfo:
        """The header."""
        data = self._dataset
        grid = Grid(data.crs.to_wkt() if data.crs else "", data.transform, data.height, data.width)
        nodata = None if data.nodata is None or math.isnan(data.nodata) else float(data.nodata)
        return RemoteInfo(grid, data.count, data.dtypes[0], nodata, data.block_shapes[0][0])

    def read(self, window: Window, band: int) -> AnyArray:
        """Pixels HW of a window inside the raster, in its own type; `band` counts from 1.

        Raises:
            RemoteError: the server did not give them.
        """
        try:
            pixels: AnyArray = self._dataset.read(
                band, window=RasterioWindow(window.col, window.row, window.width, window.height))
        except RasterioError as error:
            raise _remote_error(error) from error
        return pixels


@contextmanager
def open_remote(href: str, timeout_s: float) -> Iterator[RemoteReader]:
    """Open a raster by its href (http, https, s3, gs, az, or a path) without keeping anything of it in GDAL's caches.

    GDAL's own repetition covers what a single range request suffers; longer trouble is the caller's. A request fails
    when the connection, or nearly nothing of the answer, has come for `timeout_s`; a slow one may take longer.

    Raises:
        RemoteError: it cannot be opened; the message is GDAL's and may hold the href as given.
    """
    _LOG.addFilter(_of_no_request)
    seconds = max(1, round(timeout_s))
    path = next((vsi + href.removeprefix(s) for s, vsi in _SCHEMES.items() if href.startswith(s)), href)
    options = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no request for files beside it
        "GDAL_HTTP_MAX_RETRY": "1", "GDAL_HTTP_RETRY_DELAY": "0.2",
        "GDAL_HTTP_CONNECTTIMEOUT": f"{seconds}",
        "GDAL_HTTP_LOW_SPEED_TIME": f"{seconds}", "GDAL_HTTP_LOW_SPEED_LIMIT": "100",  # bytes a second: a standstill
        "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",  # else a failure would be remembered
        "GDAL_PAM_ENABLED": "NO",
    }
    with rasterio.Env(**options):
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise _remote_error(error) from error
        with dataset:
            yield RemoteReader(dataset)


def _of_no_request(record: logging.LogRecord) -> bool:
    """Keeps GDAL's remarks on requests, which hold hrefs with their signatures, out of the log: errors tell enough."""
    text = record.getMessage()
    return "HTTP" not in text and "/vsi" not in text


def _remote_error(error: RasterioError) -> RemoteError:
    """GDAL's message with those that led to it, on one line."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split())
        if text and text not in texts:
            texts.append(text)
        cause = cause.__cause__ or cause.__context__
    message = "; ".join(texts)
    found = _STATUS.search(message)
    return RemoteError(message, int(found.group(1)) if found else 0)
