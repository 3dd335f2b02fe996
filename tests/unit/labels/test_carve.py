"""What rules do to outlines, on a scene whose left half is trees (NDVI 0.63) and right half water (NDWI 0.75)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from shapely.geometry import MultiPolygon, Polygon, box

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.labels.refine import Refined, SceneJob, refine_scene
from pipeline.params.refine_labels import RefineParams

Frames = Callable[..., gpd.GeoDataFrame]
TREES_ = {"target": "trees", "index": "NDVI", "above": 0.5, "carve_from": ["town"]}
WATER_ = {"target": "water", "index": "NDWI", "above": 0.5, "carve_from": ["town"]}
TREES, WATER = TREES_ | {"becomes": "trees"}, WATER_ | {"becomes": "water"}


@pytest.fixture
def refine(tmp_path: Path, grid: Grid) -> Callable[..., Refined]:
    """Refine outlines by rules on the scene."""
    image = np.empty((*grid.shape, 3), dtype=np.uint16)
    image[:, :50] = (800, 900, 4000)
    image[:, 50:] = (700, 300, 100)
    raster_io.write(tmp_path / "s.tif", image, grid, ["green", "red", "nir"], nodata=0)

    def run(raw: gpd.GeoDataFrame, *rules: dict[str, Any], **more: Any) -> Refined:
        return refine_scene(SceneJob(tmp_path / "s.tif", raw, RefineParams.model_validate({"rules": rules, **more}),
                                     10000))

    return run


def pixels(refined: Refined) -> dict[str, float]:
    """Pixels a class."""
    own = refined.labels
    return {str(k): round(v / 100, 3) for k, v in own.area.groupby(own["class"]).sum().items()}


def events(refined: Refined) -> list[tuple[str, str]]:
    """Source id and action of what was not added."""
    table = refined.ledger.table()
    return [(s, a) for s, a in zip(table["source_id"], table["action"], strict=True) if a != "added"]


def test_a_rule_that_keeps_protects_outlines_and_its_ground(refine: Callable[..., Refined], frame_of: Frames) -> None:
    raw = frame_of(("town", box(40, 0, 60, 10)))
    greedy = {**WATER, "above": -2.0}  # would claim all
    refined = refine(raw, {**TREES_, "action": "keep", "add": False}, greedy)
    assert pixels(refined) == {"town": 100, "water": 5000}
    assert refined.labels[refined.labels["class"] == "town"].total_bounds[2] == 700500


def test_outlines_are_carved_from_the_declared_share_on(refine: Callable[..., Refined], frame_of: Frames) -> None:
    raw = frame_of(("town", box(40, 0, 60, 10)), ("town", box(30, 20, 54, 30)))  # 50 % and 83 % trees
    rule = {**TREES, "min_fraction": 0.6, "add": False}
    refined = refine(raw, rule)
    assert pixels(refined) == {"town": 200 + 40, "trees": 200}
    assert events(refined) == [("b", "carved"), ("a", "kept")]
    assert pixels(refine(raw, {**rule, "min_fraction": 0.4}))["trees"] == 300


def test_a_dropped_outline_leaves_its_ground_to_the_rules(refine: Callable[..., Refined], frame_of: Frames) -> None:
    raw = frame_of(("town", box(30, 0, 55, 10)), ("park", box(0, 0, 10, 10)), ("town", box(45, 50, 95, 60)))
    refined = refine(raw, {**TREES_, "action": "drop", "min_fraction": 0.7}, {**WATER, "add": False})
    assert pixels(refined) == {"park": 100, "town": 50, "trees": 5000 - 100 - 50, "water": 450}
    assert events(refined) == [("a", "dropped"), ("c", "carved"), ("b", "kept")]
    assert [(t["carved_m2"] > 0, t["dropped_m2"] > 0) for t in refined.thresholds] == [(False, True), (True, False)]


def test_a_piece_stays_when_a_later_rule_drops_what_was_left(refine: Callable[..., Refined], frame_of: Frames) -> None:
    raw = frame_of(("town", box(40, 0, 60, 10)))
    refined = refine(raw, TREES, {**WATER_, "action": "drop", "min_fraction": 0.9})
    assert pixels(refined) == {"trees": 5000, "water": 5000}
    assert events(refined) == [("a", "carved"), ("a", "dropped")]
    assert "a/NDVI:trees" in set(refined.labels["source_id"])
    assert refined.labels.union_all().area == pytest.approx(refined.labels.area.sum())


def test_an_outline_of_nothing_but_claimed_ground_is_dropped(refine: Callable[..., Refined], frame_of: Frames) -> None:
    refined = refine(frame_of(("town", box(40, 0, 60, 10))), TREES, WATER)
    assert events(refined) == [("a", "carved"), ("a", "dropped")]
    assert pixels(refined) == {"trees": 5000, "water": 5000}


def test_vast_outlines_are_cut_in_parts_without_a_trace(refine: Callable[..., Refined], frame_of: Frames,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Polygon([(3, 3), (97, 5), (90, 96), (6, 91)], [[(30, 30), (31, 70), (70, 71), (69, 29)]])
    raw = frame_of(("town", MultiPolygon([ring, box(40, 40, 61, 59)])), ("town", box(0, 97, 100, 100)))
    whole = refine(raw, TREES)
    monkeypatch.setattr("pipeline.labels.carve._TILE_PX", 16)
    parts = refine(raw, TREES)
    for one, other in zip(whole.labels.geometry[:4], parts.labels.geometry[:4], strict=True):
        assert one.symmetric_difference(other).area < 1e-3
        assert one.geom_type == other.geom_type
    assert pixels(parts) == pixels(whole)
    assert parts.labels.is_valid.all()


def test_rows_across_the_map_make_no_difference(tmp_path: Path, grid: Grid, frame_of: Frames) -> None:
    turned = Grid(grid.crs_wkt, Affine(0, 10, 700000, -10, 0, 9310000), 100, 100)  # columns run south, rows run east
    image = np.empty((100, 100, 3), dtype=np.uint16)
    image[:] = (700, 300, 100)
    image[20:40, 10:20] = (800, 900, 4000)  # on the map 20 to 40 from the left, 10 to 20 from above
    raster_io.write(tmp_path / "s.tif", image, turned, ["green", "red", "nir"], nodata=0)
    raw = frame_of(("town", box(30, 0, 60, 30)))
    params = RefineParams.model_validate({"rules": [TREES]})
    assert pixels(refine_scene(SceneJob(tmp_path / "s.tif", raw, params, 10000))) == {"town": 800, "trees": 200}


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_change_nothing(refine: Callable[..., Refined], frame_of: Frames, threads: str,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    places = [(c, r) for c in range(0, 98, 3) for r in range(0, 98, 3)]
    corners = [box(c, r, c + rng.uniform(1, 2), r + rng.uniform(1, 2)) for c, r in places]
    raw = frame_of(*(("town", corner) for corner in corners))
    raw["source_id"] = [f"o{i}" for i in range(len(raw))]
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    refined = refine(raw, TREES, WATER)
    assert events(refined)[0] == ("o0", "dropped")
    assert pixels(refined) == {"trees": 5000, "water": 5000}
