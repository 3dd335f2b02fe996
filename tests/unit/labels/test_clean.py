"""Outlines made tidy: footprint, repair, doubles, clipping, and which of two lies on top."""

from collections.abc import Callable

import geopandas as gpd
import pytest
from shapely.geometry import GeometryCollection, LineString, Polygon, box

from pipeline.geo.grid import Grid
from pipeline.geo.ground import Ground
from pipeline.labels.clean import clean, footprint, near_scene
from pipeline.labels.ledger import Ledger, ScenePage
from pipeline.params.refine_labels import Shift

Frames = Callable[..., gpd.GeoDataFrame]


def cleaned(raw: gpd.GeoDataFrame, grid: Grid) -> tuple[gpd.GeoDataFrame, list[tuple[str, str]]]:
    ledger, ground = Ledger(), Ground(grid)
    result = clean(near_scene(raw, ground), grid, ScenePage(ledger, "s", ground.area_m2)).frame(grid.crs)
    table = ledger.table()
    return result, list(zip(table["source_id"], table["action"], strict=True))


def px(frame: gpd.GeoDataFrame) -> list[float]:
    """Areas in pixels of 100 square map metres."""
    return [round(a / 100, 6) for a in frame.area]


def test_the_footprint_is_the_outer_edge(grid: Grid) -> None:
    assert footprint(grid).bounds == (700000, 9309000, 701000, 9310000)


def test_bow_ties_and_mixtures_are_repaired(grid: Grid, frame_of: Frames) -> None:
    tie = Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    mixed = GeometryCollection([box(40, 40, 44, 44), LineString([(40, 40), (60, 60)])])
    result, actions = cleaned(frame_of(("x", tie), ("x", mixed)), grid)
    assert px(result) == [50, 16]
    assert result.is_valid.all()
    assert actions == [("a", "repaired"), ("b", "repaired")]


def test_exact_doubles_are_dropped_whatever_their_first_vertex(grid: Grid, frame_of: Frames) -> None:
    square, turned = box(10, 10, 20, 20), Polygon([(20, 20), (10, 20), (10, 10), (20, 10)])
    result, actions = cleaned(frame_of(("x", square), ("x", turned), ("x", square)), grid)
    assert result["source_id"].tolist() == ["c"]
    assert actions == [("a", "dropped"), ("b", "dropped")]


def test_of_doubles_the_last_stays_as_it_lies_on_top(grid: Grid, frame_of: Frames) -> None:
    square = box(10, 10, 20, 20)
    result, actions = cleaned(frame_of(("x", square), ("y", box(15, 10, 25, 20)), ("x", square)), grid)
    assert result["source_id"].tolist() == ["b", "c"]
    assert px(result) == [50, 100]
    assert actions == [("a", "dropped"), ("b", "clipped")]


def test_outlines_are_clipped_to_the_scene_in_its_crs(grid: Grid, frame_of: Frames) -> None:
    raw = frame_of(("x", box(-5, 0, 5, 10)), ("x", box(20, 20, 30, 30)), ("x", box(200, 0, 210, 10)), ("x", None),
                   crs="EPSG:4326")
    result, actions = cleaned(raw, grid)
    assert result.crs == grid.crs
    assert px(result) == pytest.approx([50, 100], rel=1e-4)
    assert actions == [("a", "clipped")]


def test_the_later_outline_lies_on_top_and_the_result_is_disjoint(grid: Grid, frame_of: Frames) -> None:
    raw = frame_of(("x", box(10, 10, 20, 20)), ("y", box(15, 10, 25, 20)), ("x", box(18, 10, 30, 20)),
                   ("z", box(26, 12, 28, 14)), ("y", box(30, 10, 40, 20)))
    result, actions = cleaned(raw, grid)
    assert px(result) == [50, 30, 116, 4, 100]
    assert result.union_all().area == pytest.approx(result.area.sum())
    assert actions == [("a", "clipped"), ("b", "clipped"), ("c", "clipped")]


def test_an_outline_wholly_under_another_is_dropped(grid: Grid, frame_of: Frames) -> None:
    result, actions = cleaned(frame_of(("x", box(10, 10, 20, 20)), ("y", box(5, 5, 25, 25))), grid)
    assert result["class"].tolist() == ["y"]
    assert actions == [("a", "dropped")]


def test_outlines_are_moved_before_they_are_chosen(grid: Grid, frame_of: Frames) -> None:
    raw = frame_of(("x", box(-15, 0, -5, 10)), ("y", box(90, 0, 99, 10)))
    moved = near_scene(raw, Ground(grid), Shift(east_m=150.0)).frame(grid.crs)
    assert moved["source_id"].tolist() == ["a"]
    assert moved.total_bounds == pytest.approx([700000, 9309900, 700100, 9310000], abs=0.5)
