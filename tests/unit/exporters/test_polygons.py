"""Polygons burnt again are the map; layers carry the digest, and a table that lost something is seen."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import IntegrityError, SceneError
from pipeline.exporters.polygons import trace_classes, write_polygons
from pipeline.exporters.vector_checks import check_geopackage, check_geoparquet
from pipeline.geo.geoparquet import joined, write_geoparquet
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.geo.vector_io import burn, read_vectors, write_geopackage

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


TAGS = {"KUMULUS_PROVENANCE": "ab"}


def maps(folder: Path, **grids: Grid) -> dict[str, Path]:
    """Two towns of 2 x 5 and 1 x 1 px a scene."""
    classes = np.zeros(GRID.shape, dtype=np.uint8)
    classes[2:4, 2:7] = classes[10, 10] = 1
    for name, grid in grids.items():
        write(folder / f"{name}.tif", classes, grid, ["class"], nodata=255)
    return {name: folder / f"{name}.tif" for name in grids}


def test_geoparquet_has_all_scenes_in_one_table_with_the_digest_and_equal_bytes(tmp_path: Path) -> None:
    for name in ("1.gpkg", "2.gpkg"):
        write_polygons(tmp_path / name, maps(tmp_path, b=GRID, a=GRID), CLASSES, "land", TAGS)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    frame = read_vectors(tmp_path / "1.parquet")
    assert list(frame.columns) == ["scene", "class", "class_id", "area_m2", "geometry"]
    assert frame["scene"].tolist() == ["a", "a", "b", "b"]
    assert frame.crs == GRID.crs
    assert frame.geometry.area.tolist() == [1000, 100] * 2
    assert pq.read_metadata(tmp_path / "1.parquet").metadata[b"KUMULUS_PROVENANCE"] == b"ab"


def test_scenes_of_two_zones_meet_in_degrees(tmp_path: Path) -> None:
    east = Grid(CRS.from_epsg(32749).to_wkt(), GRID.transform, *GRID.shape)
    write_polygons(tmp_path / "p.gpkg", maps(tmp_path, a=GRID, b=east), CLASSES, "land", TAGS)
    frame = read_vectors(tmp_path / "p.parquet")
    assert frame.crs == CRS.from_user_input("OGC:CRS84")
    west = frame.geometry.bounds["minx"]
    assert west[2] - west[0] == pytest.approx(6)  # a zone's width in degrees
    assert [f.crs.to_epsg() for f in (read_vectors(tmp_path / "p.gpkg", n) for n in "ab")] == [32748, 32749]


def test_without_crs_it_is_unknown_and_a_mixture_is_refused(tmp_path: Path) -> None:
    bare = Grid("", GRID.transform, *GRID.shape)
    write_polygons(tmp_path / "p.gpkg", maps(tmp_path, a=bare), CLASSES, "land", TAGS)
    assert read_vectors(tmp_path / "p.parquet").crs is None
    with pytest.raises(SceneError, match=r"\['a'\] have none; set it"):
        write_polygons(tmp_path / "p.gpkg", maps(tmp_path, a=bare, b=GRID), CLASSES, "land", TAGS)


def test_maps_of_background_alone_give_an_empty_table(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.zeros(GRID.shape, dtype=np.uint8), GRID, ["class"], nodata=255)
    assert write_polygons(tmp_path / "p.gpkg", {"a": tmp_path / "a.tif"}, CLASSES, "land", TAGS) == {"a": 0}
    frame = read_vectors(tmp_path / "p.parquet")
    assert (len(frame), frame.crs) == (0, GRID.crs)


def shifted(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return frame.set_geometry(frame.geometry.translate(10))


@pytest.mark.parametrize(("change", "said"), [
    (lambda f: f.iloc[:1], "polygons: 2: got 1"),
    (lambda f: f.drop(columns="area_m2"), "columns"),
    (shifted, "very outlines"),
    (lambda f: f.assign(class_id=2), "values that were traced"),
])
def test_polygons_that_are_not_those_of_the_map_stay_here(
    tmp_path: Path, change: Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame], said: str
) -> None:
    layers = {"a": trace_classes(maps(tmp_path, a=GRID)["a"], CLASSES, "land")}
    wrong = {"a": change(layers["a"])}
    write_geopackage(tmp_path / "p.gpkg", wrong, TAGS)
    write_geoparquet(tmp_path / "p.parquet", joined(wrong), TAGS)
    with pytest.raises(IntegrityError, match=f"polygons p.gpkg must .*{said}"):
        check_geopackage(tmp_path / "p.gpkg", layers, TAGS)
    with pytest.raises(IntegrityError, match=f"polygons p.parquet must .*{said}"):
        check_geoparquet(tmp_path / "p.parquet", joined(layers), TAGS)


def test_a_lost_tag_layer_or_crs_is_seen(tmp_path: Path) -> None:
    layers = {"a": trace_classes(maps(tmp_path, a=GRID)["a"], CLASSES, "land")}
    write_geopackage(tmp_path / "p.gpkg", layers, {})
    write_geoparquet(tmp_path / "p.parquet", joined(layers), {})
    with pytest.raises(IntegrityError, match="carry tag KUMULUS_PROVENANCE 'ab': got None"):
        check_geopackage(tmp_path / "p.gpkg", layers, TAGS)
    with pytest.raises(IntegrityError, match="carry tag KUMULUS_PROVENANCE 'ab': got None"):
        check_geoparquet(tmp_path / "p.parquet", joined(layers), TAGS)
    with pytest.raises(IntegrityError, match=r"have layers \('b',\): got \('a',\)"):
        check_geopackage(tmp_path / "p.gpkg", {"b": layers["a"]}, {})
    joined(layers).to_crs("EPSG:4326").to_parquet(tmp_path / "p.parquet")
    with pytest.raises(IntegrityError, match="have CRS"):
        check_geoparquet(tmp_path / "p.parquet", joined(layers), {})
    pq.write_table(pq.read_table(tmp_path / "p.parquet").replace_schema_metadata({}), tmp_path / "p.parquet")
    with pytest.raises(IntegrityError, match="be GeoParquet"):
        check_geoparquet(tmp_path / "p.parquet", joined(layers), {})
