"""Acquire: pixels without data, in all the ways that files and masks have of saying so, never pass as data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from pipeline.errors import ParamsError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.aligned import AlignedReader
from pipeline.geo.grid import Grid
from pipeline.params.load import Params
from pipeline.scenes.store import SceneStore
from pipeline.types import Window
from stages import acquire, rasterize, refine_labels
from tests.stages.scene_files import COARSE, FINE, WKT, run, write_folder
from tests.unit.sources.local.small_safe import write_safe

Make = Callable[[], Any]


def zeros_in_coarse(project: Any, declared: float | None) -> None:
    """A 10 m band of 2000, a 20 m band of 3000 whose first six columns are 0."""
    pixels = np.full((12, 12), 3000, np.uint16)
    pixels[:, :6] = 0
    raster_io.write(project.root / "inputs/bands/B11.tif", pixels, COARSE, [""], declared)
    write_folder(project, ("B02.tif", 2000, FINE), nodata=declared)


@pytest.mark.parametrize("scene", [{"quantification": 10000, "offset": -1000}, {"zeros": "nodata"},
                                   {"zeros": "nodata", "quantification": 10000, "offset": -1000},
                                   {"nodata": 9, "quantification": 10000, "offset": -1000}])
def test_zeros_beside_a_declared_value_never_mix(local_project: Make, scene: dict[str, Any]) -> None:
    project = local_project()
    zeros_in_coarse(project, 65535)
    _, pixels = run(project, grid="blue", **scene)
    missing = (pixels[..., 1] == scene.get("nodata", 65535)) | np.isnan(pixels[..., 1])
    value = 2000 if "offset" in scene else 3000
    assert missing[:, :12].all()
    assert (pixels[:, 12:, 1] == value).all(), "no mean of 0 and data"


def test_a_nodata_of_ones_own_leaves_a_products_zeros_out(local_project: Make) -> None:
    project = local_project()
    write_safe(project.root / "inputs/S.SAFE")
    project.write_labels(acquired_labels())
    found = []
    for extra in ({}, {"nodata": 65535}):
        _, pixels = run(project, ("blue", "swir1"), path="inputs/S.SAFE", grid="blue", bands=["blue", "swir1"], **extra)
        found.append(pixels)
    assert np.array_equal(found[0], found[1], equal_nan=True)
    assert np.isnan(found[0][:6, :6]).all()
    assert np.isfinite(found[0]).sum() == 2 * (576 - 36)


def acquired_labels() -> Any:
    import geopandas as gpd
    from shapely.geometry import box

    shapes = [box(600020, 5099800, 600100, 5099900), box(600120, 5099800, 600180, 5099900)]
    return gpd.GeoDataFrame({"kind": [1, 2]}, geometry=shapes, crs=32633)


def test_a_digital_number_of_0_in_one_band_is_no_reflectance(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, np.uint16)
    image[0, 0, 1], image[0, 1] = 0, 0
    project.write_scene(image, nodata=None)
    given = {"path": "inputs/scene.tif", "offset": -1000, "quantification": 10000}
    for zeros in ("nodata", "refuse"):
        _, pixels = run(project, ("blue",), zeros=zeros, **given)
        assert np.isnan(pixels[0, 0]).tolist() == [False, True, False, False]
        assert np.isnan(pixels[0, 1]).all()
        assert np.isnan(pixels).sum() == 5
    _, pixels = run(project, ("blue",), zeros="data", **given)
    assert pixels[0, 0].tolist() == [-500, -1000, -500, -500]


@pytest.mark.parametrize(("dtype", "nodata", "why"), [
    (np.uint16, None, "it declares no nodata"), (np.float32, np.nan, "its nodata, nan, does not"),
    (np.float32, 3.4e38, r"its nodata, 3.4e\+38, does not")])
def test_a_nodata_that_says_nothing_of_zeros(local_project: Make, dtype: type, nodata: float | None, why: str) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, dtype)
    image[:6] = 0
    project.write_scene(image, nodata=nodata)
    with pytest.raises(SceneError, match=f"must say what its zeros mean, as {why}: 144 of 576"):
        run(project, ("blue",), path="inputs/scene.tif")
    _, pixels = run(project, ("blue",), path="inputs/scene.tif", zeros="nodata")
    assert (np.isnan(pixels) | (pixels == 0))[:6].all()


def test_a_nodata_that_pixels_cannot_have(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, np.uint16)
    image[:6] = 0
    project.write_scene(image, nodata=None)
    with (pytest.warns(UserWarning, match="nodata -9999 of scene scene .* marks no pixel: .* uint16 pixels can have"),
          pytest.raises(SceneError, match=r"as its nodata, -9999, does not: 144 of 576")):
        run(project, ("blue",), path="inputs/scene.tif", nodata=-9999)
    with pytest.warns(UserWarning, match="nodata -9999 of scene scene .* marks no pixel"):
        _, pixels = run(project, ("blue",), path="inputs/scene.tif", nodata=-9999, zeros="data")
    assert np.array_equal(pixels, image)


def test_zeros_without_effect_warn(local_project: Make) -> None:
    project = local_project()
    with pytest.warns(UserWarning, match="zeros: data of scene scene .* has no effect: its nodata value is 0"):
        run(project, ("blue",), path="inputs/scene.tif", zeros="data")
    write_safe(project.root / "inputs/S.SAFE")
    project.write_labels(acquired_labels())
    with pytest.warns(UserWarning, match="zeros: data of scene scene .* has no effect"):
        run(project, ("blue",), path="inputs/S.SAFE", bands=["blue"], zeros="data")


def write_clouds(project: Any, values: np.ndarray, grid: Grid, nodata: float | None = None) -> dict[str, Any]:
    raster_io.write(project.root / "inputs/clouds.tif", values, grid, ["c"], nodata)
    return {"path": "inputs/clouds.tif", "values": [9]}


@pytest.mark.parametrize("height", [24, 600])
def test_clouds_beyond_the_scene_reach_into_it(local_project: Make, height: int) -> None:
    project = local_project()
    scene = Grid(WKT, FINE.transform, height, 24)
    project.write_scene(np.full((height, 24, 4), 500, np.uint16), grid=scene)
    wide = Grid(WKT, Affine(10, 0, 700000 - 50, 0, -10, 9310000 + 50), height + 10, 34)  # five pixels on every side
    values = np.zeros(wide.shape, np.uint8)
    values[3, 10], values[height + 6, 20], values[15, 2], values[15, 32] = 9, 9, 9, 9  # two and three beyond each edge
    _, pixels = run(project, ("blue",), path="inputs/scene.tif", mask={**write_clouds(project, values, wide),
                                                                       "dilate_m": 35})
    rows, cols = np.mgrid[0:height, 0:24]
    expected = np.zeros((height, 24), bool)
    for row, col in ((-2, 5), (height + 1, 15), (10, -3), (10, 27)):
        expected |= np.hypot(rows - row, cols - col) <= 3.5
    assert expected.sum() > 10
    assert np.array_equal(pixels[..., 0] == 0, expected)


def test_a_wide_dilation_reads_no_row_of_the_mask_more_than_thrice(
        local_project: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    project, rows = local_project(), np.zeros(2000, int)
    scene = Grid(WKT, FINE.transform, len(rows), 24)
    project.write_scene(np.full((*scene.shape, 4), 500, np.uint16), grid=scene)
    values = np.zeros(scene.shape, np.uint8)
    values[1000, 5] = 9
    mask = write_clouds(project, values, scene)
    plain = AlignedReader.read

    def counted(self: AlignedReader, window: Window) -> Any:
        if self._name.endswith("clouds.tif"):
            rows[window.row:window.row + window.height] += 1
        return plain(self, window)

    monkeypatch.setattr(AlignedReader, "read", counted)
    _, pixels = run(project, ("blue",), path="inputs/scene.tif", mask={**mask, "dilate_m": 4000})
    assert np.flatnonzero(pixels[:, 5, 0] == 0).tolist() == list(range(600, 1401))
    assert 1 <= rows.min() <= rows.max() <= 3


def test_what_a_mask_does_not_know_is_left_out(local_project: Make) -> None:
    project = local_project()
    values = np.zeros((24, 24), np.uint8)
    values[:2], values[10, 10] = 255, 9
    for grid, rows in ((FINE, 24), (Grid(WKT, Affine(10, 0, 700000, 0, -10, 9310000), 25, 24), 25)):
        mask = write_clouds(project, np.resize(values, (rows, 24)), grid, 255)
        _, pixels = run(project, ("blue",), path="inputs/scene.tif", mask={**mask, "dilate_m": 10})
        missing = (pixels == 0).all(axis=-1)
        assert missing[:2].all()
        assert missing.sum() == 48 + 5, "unknown ground is not dilated, the cloud is"
    mask = write_clouds(project, values, FINE, 255)
    _, pixels = run(project, ("blue",), path="inputs/scene.tif", mask={**mask, "values": [255], "dilate_m": 10})
    assert (pixels == 0).all(axis=-1).sum() == 72, "named, nodata is a class as others"


def test_times_are_iso_8601(local_project: Make) -> None:
    project = local_project()
    for time in ("2022", "2022-07", "2022-07-01", "2022-07-01T10:06:11.024Z", "20220701T100611",
                 "2022-06-01/2022-07-31"):
        assert project.params(scene={"time": time}).raw
    for time in ("July 2022", "01.07.2022", "2022-13-01", "2022-07-01/", "0000", "2022/07/01"):
        with pytest.raises(ParamsError, match=r"time must be ISO 8601, such as .*: got "):
            project.params(scene={"time": time})


def test_the_catalog_has_an_offset_for_each_band(local_project: Make) -> None:
    project = local_project()
    raster_io.write(project.root / "inputs/dem.tif", np.ones((24, 24), np.int16), FINE, ["z"])
    catalog, _ = run(project, ("blue",), path="inputs/scene.tif", extra={"dem": "inputs/dem.tif"}, offset=-1000,
                     quantification=10000)
    entry = catalog.scenes[0]
    assert dict(zip(entry.bands, entry.offsets, strict=True)) == {
        "blue": -1000, "green": -1000, "red": -1000, "nir": -1000, "dem": 0}


def test_no_record_names_the_machine(local_project: Make) -> None:
    project = local_project()
    raster_io.write(project.root / "inputs/truth.tif", np.ones((24, 24), np.uint8), FINE, ["c"])
    reference = {"path": "inputs/truth.tif", "classes": {"1": "town"}}
    raw = project.params(reference=reference).raw
    acquire.run(Params(raw), project.paths)
    relative = project.paths.catalog.read_bytes()
    local, root = raw["acquire"]["local"], f"{project.root}/"
    raw["acquire"]["inputs"] = f"{root}inputs"
    for named in (local["scenes"][0], local["labels"], local["reference"]):
        named["path"] = root + named["path"]
    catalog = acquire.run(Params(raw), project.paths)
    assert [e.href for e in (catalog.scenes[0], catalog.labels, catalog.reference) if e] == [
        "inputs:scene.tif", "inputs:labels.geojson", "inputs:truth.tif"]
    assert project.paths.catalog.read_bytes() == relative.replace(b'"inputs/', b'"inputs:')


@pytest.mark.parametrize("resampling", ["bilinear", "average"])
@pytest.mark.parametrize(("dtype", "nodata"), [(np.int16, -32768), (np.float32, np.nan)])
def test_a_resampled_store_keeps_nodata_of_one_band_apart(local_project: Make, dtype: type, nodata: float,
                                                          resampling: str) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 3000, dtype)
    image[:, :7, 3] = nodata
    project.write_scene(image, nodata=nodata)
    params = Params({**project.params().raw, "rasterize": {"resolution": 20, "resampling": resampling}})
    for stage in (acquire, refine_labels, rasterize):
        stage.run(params, project.paths)
    scene = SceneStore.open(project.paths.scenes).scenes[0]
    missing = np.isnan(scene.image) if dtype == np.float32 else scene.image == nodata
    assert (scene.image[~missing] == 3000).all(), "no mean of nodata and data"
    assert not missing[..., :3].any()
    assert missing[:, :3, 3].all()
    assert not missing[:, 4:, 3].any()
    assert np.array_equal(scene.valid != 0, ~missing[..., 3])
    assert (scene.labels[missing[..., 3]] == 255).all()


def test_a_mask_beside_a_declared_value(local_project: Make) -> None:
    project = local_project()
    pixels = np.full((12, 12), 3000, np.uint16)
    pixels[:, 11], pixels[0, 0] = 60000, 7
    raster_io.write(project.root / "inputs/bands/B11.tif", pixels, COARSE, [""])
    inside = np.full((12, 12), 255, np.uint8)
    inside[:, 11] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(project.root / "inputs/bands/B11.tif", "r+") as band:
        band.write_mask(inside)
    write_folder(project, ("B02.tif", 2000, FINE), nodata=None)
    _, copied = run(project, grid="blue", nodata=7)
    missing = copied[..., 1] == 7
    assert missing.sum() == 4 + 48
    assert (copied[~missing, 1] == 3000).all()
