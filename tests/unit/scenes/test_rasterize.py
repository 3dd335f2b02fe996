"""A scene of the store: pixels, labels and weights by hand, on its own or another grid, in bands of rows."""

import json
import pickle
import tracemalloc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from pyproj import CRS
from shapely.geometry import box

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import write_geopackage
from pipeline.params.rasterize import RasterizeParams
from pipeline.params.task import Task
from pipeline.scenes import burnt
from pipeline.scenes.burnt import BurntLabels, LabelSet, fill_value
from pipeline.scenes.rasterize import jobs_of, store_scene, target_grid, write_manifest
from pipeline.scenes.store import Scene, SceneStore
from pipeline.types import Window

GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 6, 8)
CLASSES = ("background", "town", "water")
BANDS = ("red", "nir")


def squares(*items: tuple[str, tuple[int, int, int, int]], **columns: object) -> gpd.GeoDataFrame:
    """(class, (left, top, right, bottom) in pixels) on the grid."""
    shapes = [box(700000 + 10 * a, 9310000 - 10 * d, 700000 + 10 * c, 9310000 - 10 * b) for _, (a, b, c, d) in items]
    return gpd.GeoDataFrame({"class": [c for c, _ in items], **columns}, geometry=shapes, crs=GRID.crs)


def labels(fill: int = 0) -> LabelSet:
    refined = squares(("town", (0, 0, 2, 2)), ("ignore", (2, 0, 4, 2)), ("water", (0, 0, 8, 6)),
                      confidence=[0.75, 1.0, 0.5], scene=["s", "s", "other"])
    return LabelSet(refined, squares(("town", (0, 0, 4, 2)), ("water", (3, 0, 5, 2))).to_crs(4326), CLASSES, fill)


def stored(tmp_path: Path, image: np.ndarray, nodata: float | None, fill: int = 0, **params: object) -> Scene:
    raster_io.write(tmp_path / "s.tif", image, GRID, ["nir", "green", "red"], nodata)
    [job] = jobs_of([tmp_path / "s.tif"], tmp_path / "store", labels(fill), tmp_path / "reference", BANDS,
                    RasterizeParams.model_validate(params))
    entry = store_scene(pickle.loads(pickle.dumps(job)))
    write_manifest(tmp_path / "store", BANDS, CLASSES, "exhaustive", {"1": "city"}, {"s": entry})
    return SceneStore.open(tmp_path / "store").scenes[0]


@pytest.fixture
def counts() -> np.ndarray:
    image = np.arange(1, 6 * 8 * 3 + 1, dtype=np.int16).reshape(6, 8, 3)
    image[5, 7, 0] = -1
    image[5, 6, 1] = -1
    return image


def test_a_scene_on_its_own_grid(tmp_path: Path, counts: np.ndarray) -> None:
    scene = stored(tmp_path, counts, -1)
    assert (scene.grid.transform, scene.grid.shape, scene.grid.crs) == (GRID.transform, GRID.shape, GRID.crs)
    assert scene.image.dtype == np.int16
    assert np.array_equal(scene.image, counts[..., [2, 0]])
    expected = np.zeros((6, 8), dtype=np.uint8)
    expected[:2, :2], expected[:2, 2:4], expected[5, 7] = 1, 255, 255
    assert np.array_equal(scene.labels, expected)
    raw = np.zeros((6, 8), dtype=np.uint8)
    raw[:2, :3], raw[:2, 3:5], raw[5, 7] = 1, 2, 255
    assert np.array_equal(scene.labels_raw, raw)
    assert scene.valid.sum() == 47
    assert scene.valid[5, 6] == 1, "green is no band of the task"
    weight = np.where(expected == 1, 0.75, np.where(expected == 0, 1.0, 0.0))
    assert np.array_equal(scene.weight, weight.astype(np.float32))
    assert scene.reference is None
    assert scene.zones is None
    assert scene.strata == {1: "city"}


def test_sparse_labels_leave_the_rest_unknown(tmp_path: Path, counts: np.ndarray) -> None:
    scene = stored(tmp_path, counts, None, fill=255)
    assert sorted(np.unique(scene.labels)) == [1, 255]
    assert (scene.weight > 0).sum() == 4
    assert fill_value("sparse", "background", CLASSES) == 255
    assert fill_value("exhaustive", "background", CLASSES) == 0
    assert fill_value("exhaustive", "", CLASSES) == 255


def test_floats_become_float32_with_nan_where_there_is_nothing(tmp_path: Path) -> None:
    image = np.full((6, 8, 3), 0.25)
    image[0, 0, 2], image[1, 1, 0], image[2, 2, 0] = np.nan, 3.4e38, -9999
    scene = stored(tmp_path, image, -9999)
    assert scene.image.dtype == np.float32
    assert np.argwhere(scene.valid == 0).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert np.isnan(scene.image[scene.valid == 0]).any(axis=-1).all()
    assert (scene.image[scene.valid == 1] == 0.25).all()


@pytest.mark.parametrize("method", ["bilinear", "average"])
def test_coarser_pixels_mix_values_but_never_nodata(tmp_path: Path, method: str) -> None:
    image = np.full((6, 8, 3), 400, dtype=np.uint16)
    image[:, 4:] = 800
    image[0, 0] = 0
    image[4:, :2] = 0
    scene = stored(tmp_path, image, 0, resolution=20.0, resampling=method)
    assert scene.grid.shape == (3, 4)
    assert scene.labels.shape == scene.valid.shape == (3, 4)
    assert scene.valid[2, 0] == 0
    assert scene.valid.sum() == 11
    assert set(np.unique(scene.image[scene.valid == 1])) <= set(range(400, 801))
    assert (scene.image[:2, 0] == 400).all()
    assert scene.image.dtype == np.uint16


def test_grids() -> None:
    assert target_grid(GRID, 0) == GRID
    assert target_grid(GRID, 10) == GRID
    assert target_grid(GRID, 25).shape == (2, 3)
    assert target_grid(GRID, 5).shape == (12, 16)
    with pytest.raises(SceneError, match=r"rasterize.resolution must be smaller than a scene: got 100"):
        target_grid(GRID, 100)


def burn(frame: gpd.GeoDataFrame, fill: int, *window: int) -> tuple[np.ndarray, np.ndarray]:
    layer = BurntLabels.of(frame, GRID, CLASSES, fill, outside_weight=0.5)
    return layer.classes_and_weights(Window(*(window or (0, 0, 6, 8))))


def test_later_polygons_lie_on_top_and_confidence_has_two_decimals() -> None:
    frame = squares(("town", (0, 0, 4, 4)), ("water", (2, 2, 6, 6)), confidence=[0.333, 0.9])
    ids, weights = burn(frame, 255)
    assert (ids[2:4, 2:4] == 2).all()
    assert (ids == 1).sum() == 12
    assert set(np.unique(weights)) == {np.float32(0.33), np.float32(0.9), np.float32(0.5)}
    assert (weights == 0.5).sum() == 48 - 12 - 16
    ids, weights = burn(frame, 255, 1, 3, 3, 2)
    assert ids.tolist() == [[1, 255], [2, 2], [2, 2]]
    assert weights[0].tolist() == [np.float32(0.33), 0.5]
    ids, weights = burn(frame.iloc[:0], 0)
    assert (ids == 0).all()
    assert (weights == 0.5).all()


def test_ground_nobody_outlined_weighs_what_is_set(tmp_path: Path, counts: np.ndarray) -> None:
    scene = stored(tmp_path, counts, -1, background_weight=0.25)
    expected = np.where(scene.labels == 1, 0.75, np.where(scene.labels == 0, 0.25, 0.0))
    assert np.array_equal(scene.weight, expected.astype(np.float32))
    with pytest.warns(UserWarning, match=r"rasterize.background_weight=0.25 has no effect: .* sparse outlines"):
        sparse = stored(tmp_path / "sparse", counts, -1, fill=255, background_weight=0.25)
    assert set(np.unique(sparse.weight)) == {0, 0.75}


def test_weight_rises_from_label_boundaries_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.ones((6, 8, 3), dtype=np.int16)
    whole = stored(tmp_path / "whole", image, None, boundary_ramp_m=20.0, background_weight=0.5)
    # A town of 2 x 2 px (confidence 0.75) beside ignored ground; half a pixel of 10 m from the boundary is 1/4 of 20 m.
    width = GRID.ground_pixel_m[0]
    assert whole.weight[0, 1] == pytest.approx(0.75 * (width / 2) / 20, rel=0.01)
    assert whole.weight[0, 0] == pytest.approx(0.75 * (width * 3 / 2) / 20, rel=0.01)
    assert whole.weight[5, 7] == 0.5, "far from any boundary"
    assert whole.weight[2, 0] == pytest.approx(0.5 * (width / 2) / 20, rel=0.01)
    assert (whole.weight[:2, 2:4] == 0).all(), "ignored ground"
    monkeypatch.setattr(burnt, "_ROWS", 1)
    banded = stored(tmp_path / "bands", image, None, boundary_ramp_m=20.0, background_weight=0.5)
    assert np.array_equal(banded.weight, whole.weight)


def test_a_setting_without_effect_is_a_warning() -> None:
    task = Task.model_validate({"bands": BANDS, "background": "", "classes": [
        {"name": name, "color": "#000000"} for name in CLASSES]})
    with pytest.warns(UserWarning, match=r"rasterize.resampling=average has no effect: rasterize.resolution=0"):
        RasterizeParams(resampling="average").check(task)
    RasterizeParams(resampling="average", resolution=20).check(task)


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_bands_of_rows_leave_no_trace_in_the_bytes(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(3).integers(0, 9, (6, 8, 3)).astype(np.int16)
    (tmp_path / "a/reference").mkdir(parents=True)
    write_geopackage(tmp_path / "a/reference/truth.gpkg", {"truth": squares(("water", (0, 0, 7, 5)))})
    first = stored(tmp_path / "a", image, 0).folder
    (tmp_path / "a/reference").rename(tmp_path / "reference")
    (tmp_path / "b").mkdir()
    (tmp_path / "reference").rename(tmp_path / "b/reference")
    monkeypatch.setattr(burnt, "_ROWS", rows)
    second = stored(tmp_path / "b", image, 0).folder
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}


def test_a_job_carries_the_labels_of_its_scene_only() -> None:
    town, far = squares(("town", (0, 0, 2, 2)), ("water", (900, 0, 902, 2))), squares(("town", (4, 4, 6, 6)))
    refined = gpd.GeoDataFrame(town.assign(scene=["s", "s"], confidence=1.0))
    raw = gpd.GeoDataFrame(pd.concat([town, far], ignore_index=True).assign(scene=["s", "", "t"]), crs=GRID.crs)
    for crs in (GRID.crs, "EPSG:4326"):
        own = LabelSet(refined.to_crs(crs), raw.to_crs(crs), CLASSES, 0).of_scene("s", GRID)
        assert own.refined["class"].tolist() == ["town"]
        assert own.unrefined["class"].tolist() == ["town"]
    both = LabelSet(refined, raw.drop(columns="scene"), CLASSES, 0).of_scene("s", GRID)
    assert both.unrefined["class"].tolist() == ["town", "town"]


def test_a_reference_on_another_grid_and_crs(tmp_path: Path, counts: np.ndarray) -> None:
    wide = Grid(GRID.crs_wkt, Affine(20, 0, 699960, 0, -20, 9310040), 4, 4)
    truth = np.full((4, 4), 255, dtype=np.uint8)
    truth[2:, 2:] = [[0, 1], [2, 1]]
    raster_io.write(tmp_path / "reference/truth.tif", truth, wide, ["class"], 255)
    raster_io.write(tmp_path / "reference/strata.tif", np.ones((4, 4), np.uint8), wide, ["zone"], 0)
    scene = stored(tmp_path, counts, -1)
    assert scene.reference is not None
    assert scene.zones is not None
    assert scene.reference[:4, :4].tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 1, 1]] * 2
    assert (scene.reference[4:] == 255).all()
    assert (scene.reference[:, 4:] == 255).all()
    assert scene.zones.sum() == 16


def test_reference_polygons(tmp_path: Path, counts: np.ndarray) -> None:
    frame = squares(("water", (0, 0, 8, 6)), ("ignore", (0, 0, 1, 1))).to_crs(4326)
    write_geopackage(tmp_path / "reference/truth.gpkg", {"truth": frame})
    scene = stored(tmp_path, counts, -1)
    assert scene.reference is not None
    assert scene.reference[0, 0] == 255
    assert scene.reference[5, 7] == 255, "no data there"
    assert (scene.reference == 2).sum() == 46


def test_equal_input_gives_equal_bytes(tmp_path: Path, counts: np.ndarray) -> None:
    first = {p.name: p.read_bytes() for p in stored(tmp_path / "a", counts, -1).folder.iterdir()}
    second = {p.name: p.read_bytes() for p in stored(tmp_path / "b", counts, -1).folder.iterdir()}
    assert first == second
    assert json.loads((tmp_path / "a/store/manifest.json").read_text())["scenes"]["s"]["crs_name"] == "EPSG:32748"


def test_a_rotated_grid_is_kept_or_refused() -> None:
    rotated = Grid(GRID.crs_wkt, GRID.transform @ Affine.rotation(30), 6, 8)
    assert target_grid(rotated, 0) is rotated
    with pytest.raises(SceneError, match=r"resolution must be 0 where .*: got 5 for .*; set it to 0, or warp"):
        target_grid(rotated, 5)


def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    peaks = []
    for rows in (600, 2400):
        folder = tmp_path / str(rows)
        grid = Grid(GRID.crs_wkt, GRID.transform, rows, 300)
        raster_io.write(folder / "s.tif", np.ones((rows, 300, 2), dtype=np.uint16), grid, ["red", "nir"], 0)
        [job] = jobs_of([folder / "s.tif"], folder / "store", labels(), folder / "none", BANDS,
                        RasterizeParams(boundary_ramp_m=30))
        tracemalloc.start()
        store_scene(job)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
