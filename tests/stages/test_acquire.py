"""Stage acquire with local files and the embedded scene: what it copies and catalogues, and what it refuses."""

import json
from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import Point, box

from pipeline.errors import KumulusError, LabelError, ParamsError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import read_vectors
from pipeline.params.load import Params
from pipeline.paths import Paths
from stages import acquire

Make = Callable[[], Any]
NO_CRS = Grid("", Affine(10, 0, 700000, 0, -10, 9310000), 24, 24)


def labels(value: Any = 1, left: float = 700020, crs: str | None = "EPSG:32748", **columns: Any) -> gpd.GeoDataFrame:
    shape = box(left, 9309800, left + 80, 9309900)
    return gpd.GeoDataFrame({"kind": [value], **columns}, geometry=[shape], crs=crs)


def test_local_files_are_copied_and_catalogued(local_project: Make) -> None:
    project = local_project()
    catalog = acquire.run(project.params(), project.paths)
    raw = project.paths.raw
    assert json.loads((raw / "catalog.json").read_text())["scenes"][0]["href"] == "inputs/scene.tif"
    assert (catalog.coverage, catalog.source, catalog.labels.count, catalog.reference) == ("sparse", "local", 2, None)
    assert catalog.scenes[0].bands == ("blue", "green", "red", "nir")
    assert np.array_equal(raster_io.read(raw / "scenes/scene.tif"), raster_io.read(project.root / "inputs/scene.tif"))
    frame = read_vectors(raw / "labels.gpkg", "labels")
    assert frame["class"].tolist() == ["town", "water"]
    assert frame["source_id"].tolist() == ["labels-00000", "labels-00001"]
    assert frame.crs.to_epsg() == 4326, "GeoJSON is geographic; labels stay in the CRS they came in"
    assert "/tmp" not in (raw / "catalog.json").read_text()


def test_equal_inputs_give_equal_bytes(local_project: Make) -> None:
    project = local_project()
    folders = []
    for _ in range(2):
        acquire.run(project.params(), project.paths)
        folders.append({p.name: p.read_bytes() for p in project.paths.raw.rglob("*") if p.is_file()})
    assert folders[0] == folders[1]


def test_bands_given_by_params_and_crs_given_for_both(local_project: Make) -> None:
    project = local_project()
    project.write_scene(bands=None, grid=NO_CRS)
    project.write_labels(labels(crs=None), "labels.shp")
    bands = ["nir", "red", "green", "blue"]
    with pytest.warns(UserWarning, match="do not occur"):
        acquire.run(project.params(scene={"bands": bands, "crs": "EPSG:32748"}, labels={"crs": "EPSG:32748"}),
                    project.paths)
    info = raster_io.describe(project.paths.raw / "scenes/scene.tif")
    assert info.bands == tuple(bands)
    assert info.grid.crs_name == "EPSG:32748"


def test_odd_nodata_becomes_nan(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 0.2, dtype=np.float32)
    image[0, 0], image[0, 1, 2], image[0, 2] = 3.4e38, np.nan, -9999
    project.write_scene(image, nodata=-9999)
    acquire.run(project.params(), project.paths)
    copied = raster_io.read(project.paths.raw / "scenes/scene.tif")
    assert np.isnan(copied).sum() == 9
    assert np.nanmax(copied) == np.float32(0.2)
    assert np.isnan(raster_io.describe(project.paths.raw / "scenes/scene.tif").nodata or 0)


def masked_scene(project: Any, image: np.ndarray, nodata: float | None) -> None:
    """inputs/scene.tif with an internal mask that leaves its first row out."""
    project.write_scene(image, nodata=nodata)
    mask = np.full((24, 24), 255, dtype=np.uint8)
    mask[0] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(project.root / "inputs/scene.tif", "r+") as dataset:
        dataset.write_mask(mask)


@pytest.mark.parametrize(("dtype", "declared", "expected"), [
    (np.uint8, None, 0), (np.int16, None, -32768), (np.uint8, 7, 7), (np.float32, None, np.nan)])
def test_masked_pixels_take_the_nodata_value(local_project: Make, dtype: type, declared: float | None,
                                             expected: float) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 100, dtype=dtype)
    masked_scene(project, image, declared)
    acquire.run(project.params(), project.paths)
    file = project.paths.raw / "scenes/scene.tif"
    image[0] = expected
    assert np.array_equal(raster_io.read(file), image, equal_nan=np.issubdtype(dtype, np.floating))
    assert raster_io.describe(file).nodata == pytest.approx(expected, nan_ok=True)


def test_masked_pixels_need_a_free_value(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 100, dtype=np.uint8)
    image[1, 0] = 0
    masked_scene(project, image, None)
    acquire.run(project.params(), project.paths)
    assert raster_io.describe(project.paths.raw / "scenes/scene.tif").nodata == 255
    image[23, 23, 3] = 255
    masked_scene(project, image, None)
    with pytest.raises(SceneError, match=r"must have a value free .*: 0 and 255 both occur in its uint8 pixels"):
        acquire.run(project.params(), project.paths)


@pytest.mark.parametrize(("scene", "params", "message"), [
    ({"bands": ("blue", "green", "red", "swir1")}, {},
     r"bands of task.bands .*\['nir'\] missing among \['blue', 'green', "),
    ({"bands": None}, {}, "must have named bands: 4 of 4 have no description; list all 4 names"),
    ({}, {"bands": ["blue", "green"]}, "it has 4 bands, 2 names are given"),
    ({"bands": ("blue", "green", "red", "red")}, {}, r"\['red'\] occur twice"),
    ({"grid": NO_CRS}, {}, r"must have a CRS: the file has none; set acquire.local.scenes\[scene\].crs"),
    ({}, {"crs": "EPSG:4326"}, "must have one CRS: the file says EPSG:32748, .* says EPSG:4326"),
    ({"grid": NO_CRS}, {"crs": "EPSG:99"}, "must be a CRS that PROJ knows"),
    ({"image": np.zeros((24, 24, 4), np.uint16)}, {}, "all 576 are nodata"),
    ({"image": np.full((24, 24, 4), np.nan, np.float32), "nodata": None}, {}, "all 576 are nodata .* or NaN"),
    ({"image": np.full((24, 24, 4), 3.4e38, np.float32), "nodata": None}, {}, "all 576 are nodata"),
    ({}, {"path": "inputs/none.tif"}, "must be a file GDAL can open: no such file"),
])
def test_scenes_that_are_refused(local_project: Make, scene: dict[str, Any], params: dict[str, Any],
                                 message: str) -> None:
    project = local_project()
    project.write_scene(**scene)
    with pytest.raises(SceneError, match=message):
        acquire.run(project.params(scene=params), project.paths)
    assert not project.paths.raw.exists(), "a stage that fails leaves nothing behind"


@pytest.mark.parametrize(("frame", "params", "message"), [
    (labels().iloc[:0], {}, "must hold at least one feature: got an empty file"),
    (labels(), {"class_column": "klass"}, r"must have the column 'klass' .* its columns are \['kind'\]"),
    (labels(7), {},
     r"column 'kind': every value must be mapped .*'7' \(1 times\) is not; add to acquire.local.labels.classes"),
    (labels(None), {}, r"'' \(1 times\) is not"),
    (labels(""), {}, r"'' \(1 times\) is not"),
    (labels(crs=None), {}, "must have a CRS: the file has none; set acquire.local.labels.crs"),
    (labels(left=800000), {}, "must overlap a scene: they are EPSG:32748 with bounds .*, scene scene is EPSG:32748"),
    (labels(crs="EPSG:32633"), {},
     "must overlap a scene: they are EPSG:32633 with bounds .* scene scene is EPSG:32748 with"),
    (labels(), {"classes": {"1": "ignore"}}, "must hold a class: all values are mapped to 'ignore'"),
    (gpd.GeoDataFrame({"kind": [1]}, geometry=[Point(700030, 9309850)], crs=32748), {},
     "got 1 of type Point; draw polygons"),
    (gpd.GeoDataFrame({"kind": [1]}, geometry=[None], crs=32748), {}, "all 1 geometries are missing"),
])
def test_labels_that_are_refused(local_project: Make, frame: gpd.GeoDataFrame, params: dict[str, Any],
                                 message: str) -> None:
    project = local_project()
    project.write_labels(frame, "labels.gpkg", geometry_type="Unknown")
    with pytest.raises(LabelError, match=message):
        acquire.run(project.params(labels={"classes": {"1": "town"}, **params}), project.paths)


def test_a_missing_label_file_or_layer(local_project: Make) -> None:
    project = local_project()
    with pytest.raises(LabelError, match="must exist: not found"):
        acquire.run(project.params(labels={"path": "inputs/none.gpkg"}), project.paths)
    with pytest.raises(LabelError, match="readable by GDAL"):
        acquire.run(project.params(labels={"layer": "none"}), project.paths)


def test_float_classes_and_empty_ones_can_be_mapped(local_project: Make) -> None:
    project = local_project()
    shapes = [labels(left=left).geometry.iloc[0] for left in (700020, 700120, 700180)]
    frame = gpd.GeoDataFrame({"kind": [1.0, 2.0, np.nan]}, geometry=shapes, crs="EPSG:32748")
    project.write_labels(frame, "labels.gpkg")
    acquire.run(project.params(labels={"classes": {"1": "town", "2": "water", "": "ignore"}}), project.paths)
    assert read_vectors(project.paths.raw / "labels.gpkg", "labels")["class"].tolist() == ["town", "water", "ignore"]


def test_a_scene_without_labels_warns(local_project: Make) -> None:
    project = local_project()
    own = raster_io.describe(project.root / "inputs/scene.tif").grid
    project.write_scene(grid=Grid(own.crs_wkt, Affine(10, 0, 900000, 0, -10, 9310000), 24, 24), name="far")
    scenes = [{"id": n, "path": f"inputs/{n}.tif"} for n in ("scene", "far")]
    with pytest.warns(UserWarning, match="scene far meets none of the labels .* unlabelled"):
        acquire.run(project.params(scenes=scenes), project.paths)


def write_truth(project: Any, values: np.ndarray, nodata: float | None = None, grid: Grid | None = None) -> None:
    own = raster_io.describe(project.root / "inputs/scene.tif").grid
    raster_io.write(project.root / "inputs/truth.tif", values, grid or own, ["lulc"] * (values.ndim - 1), nodata)


def test_a_reference_raster_with_a_crosswalk(local_project: Make) -> None:
    project = local_project()
    values = np.tile(np.array([0, 1, 2, 9], dtype=np.int16), (24, 6))
    write_truth(project, values)
    reference = {"path": "inputs/truth.tif", "classes": {"0": "ignore", "1": "ground", "2": "town", "9": "water"}}
    catalog = acquire.run(project.params(reference=reference), project.paths)
    assert raster_io.read(project.paths.raw / "reference/truth.tif")[0, :4].tolist() == [255, 0, 1, 2]
    assert catalog.reference is not None
    assert catalog.reference.href == "inputs/truth.tif"


def test_a_reference_says_itself_what_it_does_not_know(local_project: Make) -> None:
    project = local_project()
    write_truth(project, np.tile(np.array([0, 1], dtype=np.uint8), (24, 12)), nodata=0)
    acquire.run(project.params(reference={"path": "inputs/truth.tif", "classes": {"1": "town"}}), project.paths)
    assert raster_io.read(project.paths.raw / "reference/truth.tif")[0, :2].tolist() == [255, 1]


def test_reference_polygons(local_project: Make) -> None:
    project = local_project()
    project.write_labels(labels("t"), "truth.gpkg")
    project.changes.clear()
    reference = {"path": "inputs/truth.gpkg", "class_column": "kind", "classes": {"t": "town"}}
    catalog = acquire.run(project.params(reference=reference), project.paths)
    assert catalog.reference is not None
    assert (catalog.reference.file, catalog.reference.count) == ("reference/truth.gpkg", 1)
    assert read_vectors(project.paths.raw / "reference/truth.gpkg", "truth")["class"].tolist() == ["town"]


@pytest.mark.parametrize(("values", "grid", "message"), [
    (np.full((24, 24), 3, np.uint8), None,
     r"reference inputs/truth.tif: every value must be mapped .*'3' \(576 times\)"),
    (np.ones((24, 24, 2), np.uint8), None, "must have one band of class values: got 2"),
    (np.ones((24, 24), np.uint8), NO_CRS, "must have a CRS"),
    (np.ones((24, 24), np.uint8), "far", "reference inputs/truth.tif must overlap a scene"),
])
def test_references_that_are_refused(local_project: Make, values: np.ndarray, grid: Any, message: str) -> None:
    project = local_project()
    own = raster_io.describe(project.root / "inputs/scene.tif").grid
    far = Grid(own.crs_wkt, Affine(10, 0, 100000, 0, -10, 9310000), 24, 24)
    write_truth(project, values, grid=far if grid == "far" else grid)
    with pytest.raises(LabelError, match=message):
        acquire.run(project.params(reference={"path": "inputs/truth.tif", "classes": {"1": "town"}}), project.paths)


def test_the_embedded_scene(tmp_path: Any, small_params: Callable[..., dict[str, Any]]) -> None:
    catalog = acquire.run(Params(small_params()), Paths(tmp_path))
    assert catalog.scenes[0].href == "synthetic:seed=42,size_px=256"
    assert catalog.reference is not None
    assert raster_io.describe(tmp_path / "data/raw/scenes/synthetic.tif").grid.shape == (256, 256)


def test_the_embedded_scene_has_its_own_classes_and_bands(tmp_path: Any,
                                                          small_params: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ParamsError, match=r"acquire.source is synthetic: got .*swir1"):
        acquire.run(Params(small_params({"task.bands": ["red", "swir1"]})), Paths(tmp_path))


def test_main_answers_in_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                  local_project: Make) -> None:
    project = local_project()
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(acquire, "load", lambda _: project.params(labels={"class_column": "none"}))
    with pytest.raises(SystemExit) as caught:
        acquire.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert issubclass(LabelError, KumulusError)
