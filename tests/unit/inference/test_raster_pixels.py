from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.inference.raster_pixels import open_pixels
from pipeline.types import AnyArray, Window

GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 0, 0, -10, 0), 2, 3)
WHOLE = Window(0, 0, 2, 3)


def image() -> AnyArray:
    return np.arange(1, 13, dtype=np.int16).reshape(2, 3, 2)  # red 1 3 5 / 7 9 11, nir 2 4 6 / 8 10 12


def write(path: Path, data: AnyArray, bands: tuple[str, ...] = ("red", "nir"), nodata: float | None = None,
          grid: Grid = GRID) -> Path:
    raster_io.write(path, data, grid, bands, nodata)
    return path


def test_bands_by_name_in_the_wanted_order_and_scaled(tmp_path: Path) -> None:
    with open_pixels(write(tmp_path / "a.tif", image()), ["nir", "red"], scale=10) as pixels:
        values = pixels.read(Window(1, 0, 1, 2))
        assert (pixels.bands, pixels.grid.transform, values.dtype) == (("nir", "red"), GRID.transform, np.float32)
    assert values.tolist() == [[[80, 100]], [[70, 90]]]


def test_nodata_in_one_band_makes_a_pixel_invalid_in_all(tmp_path: Path) -> None:
    with open_pixels(write(tmp_path / "a.tif", image(), nodata=4), ["red", "nir"]) as pixels:
        assert np.isnan(pixels.read(WHOLE)).tolist() == [[[False, True, False], [False] * 3]] * 2


def test_nan_infinity_and_absurd_values_are_invalid(tmp_path: Path) -> None:
    data = image().astype(np.float32)
    data[0, 0, 0], data[0, 1, 1], data[0, 2, 0] = np.nan, np.inf, 3.4e38
    with open_pixels(write(tmp_path / "a.tif", data), ["red", "nir"], scale=1e4) as pixels:
        assert np.isnan(pixels.read(WHOLE)).all(axis=0).tolist() == [[True] * 3, [False] * 3]


def test_the_files_own_mask_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", image())
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.array([[255, 255, 0], [255] * 3], dtype=np.uint8))
    with open_pixels(path, ["red"]) as pixels:
        assert np.isnan(pixels.read(WHOLE)[0]).tolist() == [[False, False, True], [False] * 3]


def test_names_given_replace_descriptions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", image(), bands=("Band_1", "Band_2"))
    with open_pixels(path, ["red"], names=["nir", "red"]) as pixels:
        assert pixels.read(WHOLE)[0, 0].tolist() == [2, 4, 6]


@pytest.mark.parametrize(("wanted", "names", "said"), [
    (["blue"], [], r"\['blue'\] missing among \['red', 'nir'\].*--bands"),
    (["red"], ["red"], r"--bands must name all 2 bands.*got \['red'\]"),
    (["red"], ["red", "red"], r"\['red'\] occur more often"),
])
def test_bands_that_do_not_fit(tmp_path: Path, wanted: list[str], names: list[str], said: str) -> None:
    path = write(tmp_path / "a.tif", image())
    with pytest.raises(SceneError, match=said), open_pixels(path, wanted, names):
        pass


def test_a_scene_without_crs_needs_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", image(), grid=Grid("", GRID.transform, 2, 3))
    with pytest.raises(SceneError, match="must have a CRS: got none; pass --crs"), open_pixels(path, ["red"]):
        pass
    with pytest.raises(SceneError, match="--crs must be a CRS"), open_pixels(path, ["red"], crs="EPSG:0"):
        pass
    with open_pixels(path, ["red"], crs="EPSG:32748") as pixels:
        assert pixels.grid.crs_name == "EPSG:32748"
