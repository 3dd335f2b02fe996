"""A raster written strip by strip keeps strips without data in their place."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.windows import row_bands

GRID = Grid("", Affine(1, 0, 0, 0, -1, 0), 1000, 900)


@pytest.mark.parametrize(("empty", "nodata"), [(255, 255), (0, None), (0, 0)])
def test_strips_without_data_stay_in_their_place(tmp_path: Path, empty: int, nodata: int | None) -> None:
    pixels = np.full((1000, 900, 2), empty, dtype=np.uint8)
    pixels[400:500] = 7
    with raster_io.create(tmp_path / "a.tif", GRID, np.uint8, ["x", "y"], nodata) as writer:
        for window in row_bands(1000, 900, 130):
            writer.write(pixels[window.slices], window)
    assert np.array_equal(raster_io.memory_map(tmp_path / "a.tif"), pixels)
