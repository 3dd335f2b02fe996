"""Sentinel-2 folders. Should GDAL lack its JPEG 2000 driver, they hold GeoTIFFs: the reader goes by names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.params.acquire_local import LocalScene
from pipeline.sources.local.opening import open_scene
from pipeline.sources.local.product import Product
from pipeline.sources.local.scenes import copy_scene
from tests.unit.sources.local.small_safe import IDS, digital_numbers, metadata, write_safe

with rasterio.Env() as env:
    SUFFIX = ".jp2" if "JP2OpenJPEG" in env.drivers() else ".tif"


def copied(root: Path, scale: float = 10000.0, **scene: Any) -> tuple[Product, np.ndarray]:
    product = open_scene(LocalScene(id="s", path="S.SAFE", **scene), root, ("blue",))
    copy_scene(product, root, root / "out.tif", ("blue",), scale)
    return product, raster_io.read(root / "out.tif")


def test_l2a_becomes_reflectance_on_the_named_grid(tmp_path: Path) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    product, pixels = copied(tmp_path, grid="blue")
    info = raster_io.describe(tmp_path / "out.tif")
    assert info.bands == ("blue", "green", "red", "rededge1", "nir", "nir2", "swir1"), "no SCL, no TCI"
    assert (info.grid.shape, info.grid.pixel_size, info.dtype) == ((24, 24), (10, 10), "float32")
    assert (product.level, product.time, product.quantification) == ("L2A", "2022-07-01T10:06:11.024Z", 10000)
    for i, token in ((0, "B02"), (4, "B08")):
        expected = digital_numbers(token).astype(np.float32) - 1000
        expected[:6, :6] = np.nan
        assert np.array_equal(pixels[..., i], expected, equal_nan=True)
    assert pixels[-1, -1, 0] == -100, "dark reflectance of -0.01 survives"
    swir = digital_numbers("B11").astype(np.float64)
    # The centre of a 10 m pixel lies a quarter of a 20 m pixel from the nearest centre: weights 9, 3, 3, 1 of 16.
    mixed = (9 * swir[6, 6] + 3 * swir[6, 7] + 3 * swir[7, 6] + swir[7, 7]) / 16 - 1000
    assert pixels[13, 13, 6] == pytest.approx(mixed)
    assert np.isnan(pixels[:6, :6]).all()
    assert np.isfinite(pixels[6:, 6:]).all(), "nodata never mixes with its neighbours"
    assert pixels[6, 6, 6] == pytest.approx(swir[3, 3] - 1000, abs=14)


def test_scene_units_follow_the_task(tmp_path: Path) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    _, pixels = copied(tmp_path, scale=1.0, bands=["blue"])
    assert pixels[23, 23] == np.float32(-0.01)


def test_the_products_own_coarser_version_is_taken(tmp_path: Path) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    product, pixels = copied(tmp_path, grid="swir1")
    assert product.grid.shape == (12, 12)
    assert (pixels[..., 0] == 1222).all(), "the file of 20 m, not the one of 10 m averaged"


def test_bands_of_one_resolution_need_no_grid(tmp_path: Path) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    product, _ = copied(tmp_path, bands=["nir", "blue"])
    assert product.names == ("nir", "blue")
    assert product.grid.shape == (24, 24)


@pytest.mark.parametrize(("level", "baseline", "offsets", "dark"), [
    ("L1C", "04.00", dict.fromkeys(range(13), -1000), -100), ("L1C", "02.09", {}, 900), ("L2A", "03.01", {}, 900),
    ("L2A", "05.10", {i: -i for i in range(13)}, 899)])
def test_offsets_by_band_and_none_in_old_baselines(tmp_path: Path, level: str, baseline: str, offsets: dict[int, int],
                                                   dark: float) -> None:
    write_safe(tmp_path / "S.SAFE", level, baseline, offsets, SUFFIX)
    product, pixels = copied(tmp_path, bands=["blue"])
    assert pixels[-1, -1] == dark
    assert product.level == level
    assert np.isnan(pixels[0, 0]), "0 is nodata before the offset makes it a number"


def test_band_ids_count_b8a_before_b09(tmp_path: Path) -> None:
    write_safe(tmp_path / "S.SAFE", offsets={i: -i for i in range(13)}, suffix=SUFFIX)
    product, _ = copied(tmp_path, grid="blue")
    assert {layer.name: layer.offset for layer in product.layers} == {
        "blue": -1, "green": -2, "red": -3, "rededge1": -4, "nir": -7, "nir2": -8, "swir1": -11}


def test_early_products_name_their_quantification_otherwise(tmp_path: Path) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    text = metadata("L2A", "02.05", {}).replace("BOA_QUANT", "L2A_BOA_QUANT")
    (tmp_path / "S.SAFE/MTD_MSIL2A.xml").write_text(text)
    assert copied(tmp_path, bands=["blue"])[0].quantification == 10000


@pytest.mark.parametrize(("dilate_m", "masked"), [(0, 4), (9, 4), (11, 12), (25, 32)])
def test_clouds_of_the_scene_classification(tmp_path: Path, dilate_m: float, masked: int) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    _, pixels = copied(tmp_path, grid="blue", mask={"values": [9], "dilate_m": dilate_m})
    assert np.isnan(pixels[..., 0]).sum() == 36 + masked, "one 20 m pixel of SCL and what lies near it, and the corner"
    assert np.isnan(pixels[12:14, 12:14]).all()


def broken(folder: Path, what: str) -> None:
    """One thing gone wrong in a good product."""
    data = next(folder.glob("GRANULE/*/IMG_DATA"))
    mtd = folder / "MTD_MSIL2A.xml"
    match what:
        case "no metadata":
            mtd.unlink()
        case "torn metadata":
            mtd.write_text(mtd.read_text()[:300])
        case "no quantification":
            mtd.write_text(mtd.read_text().replace("BOA_QUANTIFICATION_VALUE", "OTHER"))
        case "zero quantification":
            mtd.write_text(metadata("L2A", "04.00", {}, "0"))
        case "no offsets":
            mtd.write_text(metadata("L2A", "04.00", {}))
        case "some offsets":
            mtd.write_text(metadata("L2A", "04.00", {IDS["B02"]: -1000}))
        case "two granules":
            (folder / "GRANULE/other/IMG_DATA").mkdir(parents=True)
        case "no bands":
            for path in data.rglob("*_B*"):
                path.unlink()
        case "no classification":
            next(data.rglob("*_SCL_*")).unlink()
        case "torn band":
            path = next(data.rglob("*_B02_10m*"))
            path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(("what", "scene", "message"), [
    ("no metadata", {}, "must hold MTD_MSIL2A.xml or MTD_MSIL1C.xml, .* found neither; download the whole product"),
    ("torn metadata", {}, "must have metadata that can be read: MTD_MSIL2A.xml: "),
    ("no quantification", {}, "BOA_QUANTIFICATION_VALUE in MTD_MSIL2A.xml must be a number: got ''"),
    ("zero quantification", {}, "must be above 0: got 0"),
    ("no offsets", {}, "must have BOA_ADD_OFFSET from processing baseline 04.00 on: it is 04.00 and has none"),
    ("some offsets", {}, r"must have BOA_ADD_OFFSET for each band: \['green', 'red', .* missing"),
    ("two granules", {}, r"must have one granule with IMG_DATA: got 2 \['L2A_T33TWM_.*', 'other'\]"),
    ("no bands", {}, "must hold files of bands such as"),
    ("no classification", {"mask": {"values": [9]}}, "must have a scene classification for its mask"),
    ("torn band", {}, "must be a file GDAL can open|must have pixels GDAL can read"),
    ("", {"bands": ["blue", "swir2"]}, r"must hold the bands it is asked for: \['swir2'\] missing among \['blue', "),
    ("", {"grid": "", "bands": ()}, r"must say which band's grid .*: blue, green, red, nir in pixels of 10 from \("
                                    r"600000, 5100000\); rededge1, nir2, swir1 in pixels of 20 from"),
    ("", {"grid": "swir2"}, "must take its grid from one of its bands .* got 'swir2'"),
    ("", {"level": "L1C"}, "must be of the level it declares: level is L1C, its metadata says L2A"),
    ("", {"offset": 1, "quantification": 10}, "must take its offset from the product itself: got 1"),
    ("", {"files": {"blue": "x.jp2"}}, "must take its files from the product itself"),
])
def test_products_that_are_refused(tmp_path: Path, what: str, scene: dict[str, Any], message: str) -> None:
    write_safe(tmp_path / "S.SAFE", suffix=SUFFIX)
    broken(tmp_path / "S.SAFE", what)
    with pytest.raises(SceneError, match=message) as caught:
        copied(tmp_path, **{"grid": "blue", **scene})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.tif").exists()
