"""Pixels of a user's raster as a model takes them: bands, units, and every way of being invalid."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.inference.raster_pixels import RasterValues, open_pixels
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
    with open_pixels(write(tmp_path / "a.tif", image()), ["nir", "red"], values=RasterValues(scale=10)) as pixels:
        values = pixels.read(Window(1, 0, 1, 2))
        assert (pixels.bands, pixels.grid.transform, values.dtype) == (("nir", "red"), GRID.transform, np.float32)
    assert values.tolist() == [[[80, 100]], [[70, 90]]]


def test_nodata_in_one_band_makes_a_pixel_invalid_in_all(tmp_path: Path) -> None:
    with open_pixels(write(tmp_path / "a.tif", image(), nodata=4), ["red", "nir"]) as pixels:
        assert np.isnan(pixels.read(WHOLE)).tolist() == [[[False, True, False], [False] * 3]] * 2


def test_nan_infinity_and_absurd_values_are_invalid(tmp_path: Path) -> None:
    data = image().astype(np.float32)
    data[0, 0, 0], data[0, 1, 1], data[0, 2, 0] = np.nan, np.inf, 3.4e38
    with open_pixels(write(tmp_path / "a.tif", data), ["red", "nir"], values=RasterValues(scale=1e4)) as pixels:
        assert np.isnan(pixels.read(WHOLE)).all(axis=0).tolist() == [[True] * 3, [False] * 3]


def test_the_files_own_mask_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", image())
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.array([[255, 255, 0], [255] * 3], dtype=np.uint8))
    with open_pixels(path, ["red"]) as pixels:
        assert np.isnan(pixels.read(WHOLE)[0]).tolist() == [[False, False, True], [False] * 3]


def test_each_band_has_its_own_nodata(tmp_path: Path) -> None:
    a, b = image()[..., :1].copy(), image()[..., 1:].copy()
    write(tmp_path / "a.tif", a, ("red",), 7)
    write(tmp_path / "b.tif", b, ("nir",), 4)
    band = ("<VRTRasterBand dataType='Int16' band='{}'><Description>{}</Description><NoDataValue>{}</NoDataValue>"
            "<SimpleSource><SourceFilename relativeToVRT='1'>{}</SourceFilename></SimpleSource></VRTRasterBand>")
    (tmp_path / "all.vrt").write_text(
        "<VRTDataset rasterXSize='3' rasterYSize='2'><SRS>EPSG:32748</SRS><GeoTransform>0,10,0,0,0,-10</GeoTransform>"
        + band.format(1, "red", 7, "a.tif") + band.format(2, "nir", 4, "b.tif") + "</VRTDataset>")
    with open_pixels(tmp_path / "all.vrt", ["nir", "red"]) as pixels:
        assert pixels.nodatas == (4, 7)
        assert np.isnan(pixels.read(WHOLE)[0]).tolist() == [[False, True, False], [True, False, False]]


def test_nodata_given_replaces_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", image(), nodata=4)
    with open_pixels(path, ["red", "nir"], values=RasterValues(nodata=7)) as pixels:
        assert np.isnan(pixels.read(WHOLE)[0]).tolist() == [[False] * 3, [True, False, False]]
    with (pytest.warns(UserWarning, match="--nodata 70000 marks no pixel of scene a.tif: int16 pixels never have it"),
          open_pixels(path, ["red"], values=RasterValues(nodata=70000)) as pixels):
        assert pixels.asks_about_zeros


def test_digital_numbers_become_scene_values(tmp_path: Path) -> None:
    data = image()
    data[0, 0, 0], data[1, 1] = 0, 0
    path = write(tmp_path / "a.tif", data)
    given = RasterValues(offset=-4, quantification=2)
    with open_pixels(path, ["red", "nir"], values=given, reflectance_scale=10) as pixels:
        nir = pixels.read(WHOLE)[1]
    assert np.isnan(nir).tolist() == [[True, False, False], [False, True, False]], "0 in one band is nodata in all"
    assert nir[0, 1:].tolist() == [0, 10]
    assert nir[1, ::2].tolist() == [20, 40]
    zeros = RasterValues(offset=-4, quantification=2, zeros="data")
    with open_pixels(path, ["red", "nir"], values=zeros, reflectance_scale=10) as pixels:
        assert pixels.read(WHOLE)[:, 0, 0].tolist() == [-20, -10]


@pytest.mark.parametrize(("zeros", "nodata", "given", "asks", "missing"), [
    ("refuse", None, None, True, 0), ("nodata", None, None, False, 1), ("data", None, None, False, 0),
    ("refuse", 99, None, False, 0), ("refuse", None, 99, False, 0), ("refuse", np.nan, None, True, 0)])
def test_what_zeros_mean(tmp_path: Path, zeros: str, nodata: float | None, given: float | None, asks: bool,
                         missing: int) -> None:
    data = image().astype(np.float32)
    data[0, 0, 0], data[1, 1] = 0, 0
    path = write(tmp_path / "a.tif", data, nodata=nodata)
    with open_pixels(path, ["red", "nir"], values=RasterValues(zeros=zeros, nodata=given)) as pixels:
        assert pixels.asks_about_zeros == asks
        assert np.isnan(pixels.read(WHOLE)[0]).sum() == missing


@pytest.mark.parametrize(("values", "said"), [
    (RasterValues(scale=0), "--scale must be a number above 0"),
    (RasterValues(offset=-1000), "--offset must come with --quantification: got offset -1000 alone"),
    (RasterValues(offset=np.nan, quantification=1), "--offset must be a finite number"),
    (RasterValues(quantification=-1), "--quantification must be 0 or a number above: got -1"),
    (RasterValues(scale=2, quantification=1), "--scale must be left out beside --quantification"),
    (RasterValues(zeros="none"), "--zeros must be one of refuse, nodata, data: got 'none'"),
    (RasterValues(nodata=np.nan), "--nodata must be a finite number"),
])
def test_settings_that_do_not_go_together(values: RasterValues, said: str) -> None:
    with pytest.raises(SceneError, match=said):
        values.check()


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
