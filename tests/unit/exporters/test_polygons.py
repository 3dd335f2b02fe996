from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.exporters.polygons import trace_classes, write_polygons
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.geo.vector_io import burn, read_vectors

GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), 20, 30)
CLASSES = ("land", "town", "sea")


def class_map() -> np.ndarray:
    classes = np.random.default_rng(0).integers(0, 3, GRID.shape).astype(np.uint8)
    classes[:5, :5] = 255
    return classes


def traced(folder: Path, classes: np.ndarray, grid: Grid = GRID, background: str = "land") -> gpd.GeoDataFrame:
    write(folder / "map.tif", classes, grid, ["class"], nodata=255)
    frame = trace_classes(folder / "map.tif", CLASSES, background)
    assert [p.name for p in folder.iterdir()] == ["map.tif"], "scratch files have no names"
    return frame


@pytest.mark.parametrize("rows", [512, 7])
def test_burnt_again_polygons_are_the_map(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.exporters.polygons._ROWS", rows)
    frame = traced(tmp_path, class_map())
    burnt = burn(list(frame.geometry), list(frame["class_id"]), GRID, fill=0)
    assert (burnt == np.where(class_map() == 255, 0, class_map())).all()
    assert set(frame["class"]) == {"town", "sea"}
    assert frame.crs == GRID.crs


def test_areas_are_on_the_ground(tmp_path: Path) -> None:
    classes = np.zeros(GRID.shape, dtype=np.uint8)
    classes[2:4, 2:7] = 1
    frame = traced(tmp_path, classes)
    assert frame["area_m2"].tolist() == pytest.approx([1000], rel=0.01)
    assert frame["area_m2"].tolist() == pytest.approx([10 * GRID.pixel_area_m2], rel=1e-4)


def test_without_background_every_class_is_traced_and_without_crs_areas_are_left_out(tmp_path: Path) -> None:
    frame = traced(tmp_path, class_map(), Grid("", GRID.transform, 20, 30), "")
    assert set(frame["class"]) == set(CLASSES)
    assert list(frame.columns) == ["class", "class_id", "geometry"]


def test_a_layer_a_scene_with_the_digest_and_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", class_map(), GRID, ["class"], nodata=255)
    write(tmp_path / "b.tif", np.zeros(GRID.shape, dtype=np.uint8), GRID, ["class"], nodata=255)
    maps = {"b": tmp_path / "b.tif", "a": tmp_path / "a.tif"}
    for name in ("1.gpkg", "2.gpkg"):
        counts = write_polygons(tmp_path / name, maps, CLASSES, "land", {"KUMULUS_PROVENANCE": "ab"})
    assert (tmp_path / "1.gpkg").read_bytes() == (tmp_path / "2.gpkg").read_bytes()
    assert [str(n) for n in pyogrio.list_layers(tmp_path / "1.gpkg")[:, 0]] == ["a", "b"]
    assert counts == {"a": len(read_vectors(tmp_path / "1.gpkg", "a")), "b": 0}
    assert pyogrio.read_info(tmp_path / "1.gpkg", layer="a")["layer_metadata"]["KUMULUS_PROVENANCE"] == "ab"
