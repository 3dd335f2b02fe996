"""A raster read onto another grid: planes stay planes, and pixels without data never mix with others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.aligned import open_aligned
from pipeline.geo.grid import Grid
from pipeline.types import Window

WKT = CRS.from_epsg(32633).to_wkt()
COARSE = Grid(WKT, Affine(20, 0, 500000, 0, -20, 5000000), 6, 6)
FINE = Grid(WKT, Affine(10, 0, 500000, 0, -10, 5000000), 12, 12)
WHOLE = Window(0, 0, 12, 12)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(pixels: np.ndarray, nodata: float | None = None) -> Path:
        raster_io.write(tmp_path / "a.tif", pixels, COARSE, ["a"], nodata)
        return tmp_path / "a.tif"

    return make


def read(path: Path, grid: Grid = FINE, resampling: str = "bilinear", nodata: float | None = None,
         dtype: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    with open_aligned(path, [1], grid, COARSE, resampling, nodata, dtype) as reader:
        pixels, data = reader.read(Window(0, 0, grid.height, grid.width))
    return pixels[..., 0], data[..., 0]


def test_its_own_grid_is_read_as_it_is(write: Write) -> None:
    pixels = np.arange(36, dtype=np.uint16).reshape(6, 6)
    got, data = read(write(pixels), COARSE, nodata=7)
    assert np.array_equal(got, pixels)
    assert np.array_equal(data, pixels != 7)


def test_a_plane_stays_a_plane(write: Write) -> None:
    rows, cols = np.mgrid[0:6, 0:6]
    got, data = read(write((100 + 40 * rows + 8 * cols).astype(np.uint16)), dtype="float32")
    fine_rows, fine_cols = (np.mgrid[0:12, 0:12] - 0.5) / 2
    inside = np.s_[1:-1, 1:-1]
    assert data.all()
    assert got[inside] == pytest.approx((100 + 40 * fine_rows + 8 * fine_cols)[inside])


def test_a_constant_of_the_files_type_stays_that_constant(write: Write) -> None:
    got, _ = read(write(np.full((6, 6), 1234, np.uint16)))
    assert got.dtype == np.uint16
    assert (got == 1234).all()


@pytest.mark.parametrize(("dtype", "missing", "nodata"), [
    ("float32", 3.4e38, None), ("float32", -3.4e38, None), ("float32", np.nan, None), ("float32", -9999, -9999),
    ("float32", 3.4e38, float(np.float32(3.4e38))), ("uint16", 0, 0), ("float64", 1e39, None)])
def test_missing_pixels_never_mix_with_others(write: Write, dtype: str, missing: float, nodata: float | None) -> None:
    pixels = np.full((6, 6), 5, dtype)
    pixels[2, 3] = missing
    got, data = read(write(pixels), nodata=nodata)
    assert not data[4:6, 6:8].any()
    assert (got[data] == 5).all(), "whatever holds data is a mean of data"
    assert data[[0, -1]].all()
    assert data[:, [0, -1]].all()


def test_a_mask_band_counts_where_it_is_resampled(write: Write) -> None:
    path = write(np.full((6, 6), 5, np.uint16))
    mask = np.full((6, 6), 255, np.uint8)
    mask[2, 3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    _, data = read(path)
    assert np.argwhere(~data).tolist() == [[4, 6], [4, 7], [5, 6], [5, 7]]


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 65535), ("int16", -1), ("float32", -9999), ("uint16", None),
                                               ("float32", 3.4e38)])
def test_every_way_of_missing_counts_at_once(write: Write, dtype: str, nodata: float | None, resampling: str) -> None:
    pixels = np.full((6, 6), 5, dtype)
    pixels[0, 0], pixels[5, 5] = 0, 900
    pixels[2, 3] = 0 if nodata is None else nodata
    path = write(pixels)
    mask = np.full((6, 6), 255, np.uint8)
    mask[5, 5] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    with open_aligned(path, [1], FINE, COARSE, resampling, nodata, "float32", also=0) as reader:
        got, data = reader.read(WHOLE)
    expected = np.ones((12, 12), bool)
    for row, col in ((0, 0), (2, 3), (5, 5)):
        expected[2 * row:2 * row + 2, 2 * col:2 * col + 2] = False
    assert np.array_equal(data[..., 0], expected)
    assert (got[data] == 5).all()


def test_ground_beyond_the_file_has_no_data(write: Write) -> None:
    wider = Grid(WKT, Affine(10, 0, 499980, 0, -10, 5000000), 12, 16)
    _, data = read(write(np.zeros((6, 6), np.uint16)), wider, "nearest")
    assert not data[:, :2].any(), "0 within the file is a value, beyond it there is none"
    assert data[:, 2:14].all()
    assert not data[:, 14:].any()


def test_windows_are_cut_out_of_the_whole(write: Write) -> None:
    path = write(np.random.default_rng(0).integers(1, 900, (6, 6)).astype(np.uint16))
    whole, _ = read(path)
    with open_aligned(path, [1], FINE, COARSE, "bilinear", None) as reader:
        parts = [reader.read(Window(row, 0, 5, 12) if row < 10 else Window(10, 0, 2, 12))[0] for row in (0, 5, 10)]
    assert np.array_equal(np.concatenate(parts)[..., 0], whole)


def test_two_ways_of_missing_cannot_be_resampled(write: Write) -> None:
    pixels = np.full((6, 6), 5, np.float32)
    pixels[0, 0], pixels[5, 5] = 3.4e38, -3.4e38
    with pytest.raises(SceneError, match=r"one way where it is resampled: got \['-3\.4e\+38', '3\.4e\+38'\]"):
        read(write(pixels))


def test_a_torn_file_answers_in_one_line(write: Write) -> None:
    path = write(np.random.default_rng(0).integers(1, 900, (6, 6)).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SceneError, match=r"must have pixels GDAL can read: .*copy it again") as caught:
        read(path, COARSE)
    assert "\n" not in str(caught.value)
    with pytest.raises(SceneError, match=r"must have pixels GDAL can read: .*copy it again"):
        read(path)
