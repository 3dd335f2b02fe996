"""Nodata of one band never mixes into that band when it is resampled."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.types import Window

WKT = CRS.from_epsg(32633).to_wkt()
FINE = Grid(WKT, Affine(10, 0, 500000, 0, -10, 5000000), 12, 12)
COARSE = Grid(WKT, Affine(20, 0, 500000, 0, -20, 5000000), 6, 6)


@pytest.mark.parametrize("resampling", ["bilinear", "average"])
@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -32768), ("uint16", 0), ("float32", np.nan)])
def test_nodata_of_one_band_never_mixes_into_that_band(tmp_path: Path, dtype: str, nodata: float,
                                                       resampling: str) -> None:
    pixels = np.full((12, 12, 2), 3000, dtype)
    pixels[:, :3, 1] = nodata  # the edge of the missing part lies within a coarse pixel
    raster_io.write(tmp_path / "a.tif", pixels, FINE, ["a", "b"], nodata)
    with raster_io.open_on_grid(tmp_path / "a.tif", COARSE, resampling) as reader:
        got = reader.read(Window(0, 0, 6, 6), [1, 2])
    missing = np.isnan(got) if dtype == "float32" else got == nodata
    assert (got[~missing] == 3000).all()
    assert not missing[..., 0].any()
    assert missing[:, :1, 1].all()
    assert not missing[:, 2:, 1].any()
