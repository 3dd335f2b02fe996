import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from shapely.geometry import box

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import write_geopackage
from pipeline.params.rasterize import RasterizeParams
from pipeline.scenes.rasterize import (
    LabelSet,
    burn_classes,
    burn_confidence,
    fill_value,
    store_scene,
    target_grid,
    write_manifest,
)
from pipeline.scenes.store import Scene, SceneStore

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
    entry = store_scene(tmp_path / "s.tif", tmp_path / "store/s", labels(fill), tmp_path / "reference", BANDS,
                        RasterizeParams.model_validate(params))
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


def test_later_polygons_lie_on_top_and_confidence_has_two_decimals() -> None:
    frame = squares(("town", (0, 0, 4, 4)), ("water", (2, 2, 6, 6)), confidence=[0.333, 0.9])
    ids = burn_classes(frame, GRID, CLASSES, 255)
    assert (ids[2:4, 2:4] == 2).all()
    assert (ids == 1).sum() == 12
    assert set(np.unique(burn_confidence(frame, GRID))) == {np.float32(0.33), np.float32(0.9), np.float32(1)}
    empty = frame.iloc[:0]
    assert (burn_classes(empty, GRID, CLASSES, 0) == 0).all()
    assert (burn_confidence(empty, GRID) == 1).all()


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
