"""Scenes composed of STAC items: reflectance, masks and medians by hand."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.remote import RemoteInfo
from pipeline.params.acquire_remote import StacMask
from pipeline.sources.stac import compose
from pipeline.sources.stac.compose import Layer, median, write_scene
from pipeline.sources.stac.fetch import CutOut
from pipeline.sources.stac.plan import Read
from pipeline.sources.stac.reflectance import Calibration
from tests.unit.sources.stac.stac_server import LEFT, grid

NAN = np.float32("nan")
NO_MASK = StacMask()


def cut_out(folder: Path, name: str, values: np.ndarray, pixel_m: float = 10, nodata: float | None = 0) -> CutOut:
    where = grid(values.shape[0], pixel_m)
    raster_io.write(folder / f"{name}.tif", values, where, [name], nodata)
    return CutOut(Read("i", name, name, "", 1), folder / f"{name}.tif", "",
                  RemoteInfo(where, 1, str(values.dtype), nodata, 1))


def layer(folder: Path, name: str, *bands: np.ndarray, offset: float = -1000, mask: np.ndarray | None = None) -> Layer:
    known = Calibration(offset, 10000, 0, "")
    made = tuple((cut_out(folder, f"{name}{i}", b), known) for i, b in enumerate(bands))
    return Layer(name, made, None if mask is None else cut_out(folder, f"{name}-mask", mask, 20, None))


def write(folder: Path, layers: list[Layer], names: tuple[str, ...] = ("blue",), scale: float = 10000,
          mask: StacMask = NO_MASK, size_px: int = 8) -> np.ndarray:
    write_scene(folder / "out.tif", grid(size_px), names, layers, scale, "bilinear", mask)
    return raster_io.read(folder / "out.tif")


def test_reflectance_by_hand(tmp_path: Path) -> None:
    dn = np.full((8, 8), 3000, np.uint16)
    dn[0, 0], dn[0, 1], dn[7, 7] = 0, 900, 1
    found = write(tmp_path, [layer(tmp_path, "a", dn)])
    assert np.isnan(found[0, 0]), "0 is nodata before it is anything else"
    assert found[0, 1] == pytest.approx(-100), "negative reflectance survives"
    assert found[7, 7] == pytest.approx(-999)
    assert found[3, 3] == pytest.approx(2000)
    assert write(tmp_path, [layer(tmp_path, "a", dn)], scale=1)[3, 3] == np.float32(0.2)
    info = raster_io.describe(tmp_path / "out.tif")
    assert (info.dtype, info.bands) == ("float32", ("blue",))
    assert info.nodata is not None
    assert np.isnan(info.nodata)


def test_a_pixel_has_all_bands_or_none(tmp_path: Path) -> None:
    first, second = np.full((8, 8), 2000, np.uint16), np.full((8, 8), 3000, np.uint16)
    first[2, 3], second[4, 5] = 0, 0
    found = write(tmp_path, [layer(tmp_path, "a", first, second)], ("blue", "nir"))
    assert np.argwhere(np.isnan(found).any(axis=-1)).tolist() == [[2, 3], [4, 5]]
    assert np.isnan(found[2, 3]).all()
    assert np.isnan(found[4, 5]).all()


def test_masks_are_nearest_and_grow_in_metres(tmp_path: Path) -> None:
    dn, classes = np.full((12, 12), 2000, np.uint16), np.full((6, 6), 4, np.uint8)
    classes[2, 2] = 9  # 20 m: rows and columns 4 and 5
    mask = StacMask(asset="scl", values=(8, 9))
    made = layer(tmp_path, "a", dn, mask=classes)
    gone = np.isnan(write(tmp_path, [made], mask=mask, size_px=12))
    assert np.argwhere(gone).tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]
    grown = np.isnan(write(tmp_path, [made], mask=StacMask(asset="scl", values=(9,), dilate_m=12), size_px=12))
    assert grown.sum() == 4 + 8, "10 m to the sides, not the 14 m of a diagonal"
    assert grown[3, 4]
    assert grown[6, 5]
    assert not grown[3, 3]


def test_the_median_by_hand() -> None:
    stack = np.array([[1, NAN, NAN, 5], [9, 4, NAN, NAN], [2, 8, NAN, NAN], [3, NAN, NAN, 7]], np.float32)
    assert np.array_equal(median(stack.reshape(4, 2, 2, 1)).ravel(), np.array([2.5, 6, NAN, 6], np.float32), True)
    assert np.array_equal(median(stack[:3].reshape(3, 2, 2, 1)).ravel(), np.array([2, 6, NAN, 5], np.float32), True)


def test_windows_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    layers = [layer(tmp_path, name, rng.integers(0, 3000, (70, 70)).astype(np.uint16),
                    mask=rng.integers(3, 6, (35, 35)).astype(np.uint8)) for name in "abc"]
    mask = StacMask(asset="scl", values=(3,), dilate_m=25)
    whole = write(tmp_path, layers, mask=mask, size_px=70)
    before = (tmp_path / "out.tif").read_bytes()
    monkeypatch.setattr(compose, "_BUDGET_BYTES", 1)
    assert np.array_equal(write(tmp_path, layers, mask=mask, size_px=70), whole, equal_nan=True)
    assert (tmp_path / "out.tif").read_bytes() == before
    assert 0 < np.isnan(whole).sum() < whole.size


def test_a_coarse_band_is_resampled_as_asked(tmp_path: Path) -> None:
    coarse = np.array([[1000, 2000], [3000, 4000]], np.uint16)
    made = Layer("a", ((cut_out(tmp_path, "c", coarse, 20), Calibration(0, 10000, 0, "")),), None)
    write_scene(tmp_path / "near.tif", grid(4), ("swir1",), [made], 10000, "nearest", NO_MASK)
    near = raster_io.read(tmp_path / "near.tif")
    assert np.allclose(near, np.kron(coarse, np.ones((2, 2))))
    write_scene(tmp_path / "soft.tif", grid(4), ("swir1",), [made], 10000, "bilinear", NO_MASK)
    soft = raster_io.read(tmp_path / "soft.tif")
    assert soft[1, 1] == pytest.approx(0.75 * (0.75 * 1000 + 0.25 * 2000) + 0.25 * (0.75 * 3000 + 0.25 * 4000))


@pytest.mark.parametrize(("resampling", "fine_px"), [("nearest", 4), ("bilinear", 4), ("average", 2)])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 65535), ("uint16", None), ("uint16", 0), ("int16", None),
                                               ("int16", -32768), ("float32", -9999)])
def test_zeros_never_mix_with_other_numbers(tmp_path: Path, resampling: str, fine_px: int, dtype: str,
                                            nodata: float | None) -> None:
    coarse = np.full((4, 4), 3000, dtype)
    coarse[1, 1] = 0
    coarse[2, 3] = 0 if nodata is None else nodata
    known = Calibration(-1000, 10000, nodata, "")
    made = Layer("a", ((cut_out(tmp_path, "c", coarse, 20, nodata), known),), None)
    where = grid(8 if fine_px == 4 else 2, 10 if fine_px == 4 else 40)
    write_scene(tmp_path / "out.tif", where, ("swir1",), [made], 10000, resampling, NO_MASK)
    found = raster_io.read(tmp_path / "out.tif")
    assert found[np.isfinite(found)] == pytest.approx(2000), "whatever has data is a mean of data"
    if fine_px == 4:
        assert np.isnan(found[2:4, 2:4]).all()
        assert np.isnan(found[4:6, 6:8]).all()
        assert np.isfinite(found).sum() == 64 - 8


def test_zero_is_nodata_on_the_assets_own_grid_too(tmp_path: Path) -> None:
    dn = np.full((8, 8), 3000, np.uint16)
    dn[0, 0], dn[5, 5] = 0, 65535
    made = Layer("a", ((cut_out(tmp_path, "c", dn, nodata=65535), Calibration(-1000, 10000, 65535, "")),), None)
    assert np.argwhere(np.isnan(write(tmp_path, [made]))).tolist() == [[0, 0], [5, 5]]
    plain = Layer("a", ((cut_out(tmp_path, "c", dn, nodata=65535), Calibration(0, 1, 65535, "")),), None)
    found = write(tmp_path, [plain], scale=1)
    assert np.argwhere(np.isnan(found)).tolist() == [[5, 5]], "where nothing is applied, 0 is a value"
    assert found[0, 0] == 0


def test_what_the_mask_does_not_know_is_left_out_and_told(tmp_path: Path) -> None:
    dn, classes = np.full((12, 12), 2000, np.uint16), np.full((4, 4), 4, np.uint8)  # 4 x 20 m: rows and columns 0 to 7
    classes[0, 0] = 0
    dn[0, 11] = 0
    made = layer(tmp_path, "a", dn, mask=classes)
    mask = StacMask(asset="scl", values=(9,))
    with pytest.warns(UserWarning, match="mask scl of item a says nothing of 79 pixels of scene out that have data: "
                                         "they are left out"):
        found = np.isfinite(write(tmp_path, [made], mask=mask, size_px=12))
    assert found[:8, :8].all(), "0 is a class where the mask does not declare it"
    assert not found[8:].any()
    assert not found[:, 8:].any()
    declared = Layer("a", made.bands, cut_out(tmp_path, "declared", classes, 20, 0))
    with pytest.warns(UserWarning, match="says nothing of 83 pixels"):
        found = np.isfinite(write(tmp_path, [declared], mask=mask, size_px=12))
    assert not found[:2, :2].any()
    assert found.sum() == 64 - 4
    with pytest.warns(UserWarning, match="says nothing of 79 pixels"):
        write(tmp_path, [declared], mask=StacMask(asset="scl", values=(0, 9)), size_px=12)


def test_no_cloud_is_seen_where_the_mask_ends(tmp_path: Path) -> None:
    dn, classes = np.full((8, 8), 2000, np.uint16), np.full((4, 4), 4, np.uint8)
    made = layer(tmp_path, "a", dn, mask=classes)
    found = write(tmp_path, [made], mask=StacMask(asset="scl", values=(0,), dilate_m=15))
    assert np.isfinite(found).all(), "beyond it GDAL reads 0, which is no class there"


def test_scenes_without_pixels(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="scene out must have pixels with data in all bands: all 64 are nodata"):
        write(tmp_path, [layer(tmp_path, "a", np.zeros((8, 8), np.uint16))])
    assert not (tmp_path / "out.tif").exists()
    sparse = np.zeros((20, 20), np.uint16)
    sparse[3, 3] = 2000
    with pytest.warns(UserWarning, match="scene out has data in all bands at only 1 of 400 pixels"):
        write(tmp_path, [layer(tmp_path, "b", sparse)], size_px=20)


def test_grids_beyond_the_item_are_nodata(tmp_path: Path) -> None:
    made = layer(tmp_path, "a", np.full((8, 8), 2000, np.uint16))
    write_scene(tmp_path / "out.tif", grid(8, left=LEFT - 40), ("blue",), [made], 1, "bilinear", NO_MASK)
    found = raster_io.read(tmp_path / "out.tif")
    assert np.isnan(found[:, :4]).all()
    assert np.isfinite(found[:, 4:]).all()
