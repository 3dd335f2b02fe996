"""Rasters of a web server: headers, windows, and failures that tell their status."""

import logging
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.remote import RemoteError, open_remote
from pipeline.types import Window
from tests.unit.sources.loopback import Answer, Loopback, Request, file_answer

GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 40, 30)


class Files(Loopback):
    folder: Path

    def answer(self, request: Request) -> Answer:
        return file_answer(self.folder / request.path.lstrip("/"), request)


@pytest.mark.parametrize(("nodata", "expected"), [(None, None), (np.nan, None), (-9999, -9999)])
def test_headers_and_windows(tmp_path: Path, nodata: float | None, expected: float | None) -> None:
    values = np.arange(2400, dtype=np.float32).reshape(40, 30, 2)
    raster_io.write(tmp_path / "a.tif", values, GRID, ["x", "y"], nodata)
    with Files() as server:
        server.folder = tmp_path
        with open_remote(f"{server.url}/a.tif?key=value", 5) as remote:
            info = remote.info
            assert (info.grid.shape, info.count, info.dtype, info.nodata) == ((40, 30), 2, "float32", expected)
            assert info.grid.crs_name == "EPSG:32748"
            assert np.array_equal(remote.read(Window(3, 4, 5, 6), 2), values[3:8, 4:10, 1])
        assert {r.path for r in server.requests} == {"/a.tif"}, "no request for files beside it"


def test_failures_tell_their_status_and_stay_out_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Files() as server:
        server.folder = tmp_path
        server.broken["/b.tif"] = 503
        for name, status in (("none.tif", 404), ("b.tif", 503)):
            with pytest.raises(RemoteError, match=str(status)) as caught, \
                    open_remote(f"{server.url}/{name}?sig=secret", 5):
                pass
            assert caught.value.status == status
        (tmp_path / "none.tif").write_bytes(b"late")
        with pytest.raises(RemoteError, match="not recognized") as caught, open_remote(
                f"{server.url}/none.tif?sig=secret", 5):
            pass
        assert caught.value.status == 0, "that it was missing once is not remembered"
    assert "secret" not in caplog.text
