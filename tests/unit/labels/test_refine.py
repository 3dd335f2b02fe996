"""Refinement of labels: what rules carve, what stays, and a ledger that accounts for every square metre."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from pyproj import CRS
from shapely.geometry import Polygon, box

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import geodesic_area_m2
from pipeline.labels.ledger import Ledger
from pipeline.labels.refine import SceneJob, refine_all, refine_scene
from pipeline.params.refine_labels import RefineParams

Frames = Callable[..., gpd.GeoDataFrame]
WATER, TREES, BARE = (300, 100), (900, 4000), (2000, 2000)


def rule(index: str = "NDVI", target: str = "vegetation", **changes: object) -> dict[str, object]:
    return {"target": target, "index": index, "above": 0.3, "carve_from": ["town"], **changes}


def params(*rules: dict[str, object], **changes: object) -> RefineParams:
    return RefineParams.model_validate({"rules": rules, **changes})


@pytest.fixture
def scene(tmp_path: Path, grid: Grid) -> Path:
    """Bare ground; trees in rows and columns 20 to 39, one lone tree at 80, 80; water in columns 60 to 69."""
    green_red_nir = np.empty((*grid.shape, 3), dtype=np.uint16)
    green_red_nir[:] = (1500, *BARE)
    green_red_nir[20:40, 20:40] = (800, *TREES)
    green_red_nir[80, 80] = (800, *TREES)
    green_red_nir[:, 60:70] = (700, *WATER)
    raster_io.write(tmp_path / "s.tif", green_red_nir, grid, ["green", "red", "nir"], nodata=0)
    return tmp_path / "s.tif"


def refined_by(scene: Path, raw: gpd.GeoDataFrame, chosen: RefineParams) -> tuple[gpd.GeoDataFrame, Ledger]:
    result = refine_scene(SceneJob(scene, raw, chosen, 10000))
    return result.labels, result.ledger


def events(ledger: Ledger, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row) for row in ledger.table()[list(columns)].to_numpy()]


def areas(frame: gpd.GeoDataFrame) -> dict[str, float]:
    """Pixels a class."""
    return {str(k): round(v / 100, 3) for k, v in frame.area.groupby(frame["class"]).sum().items()}


def balance(raw: gpd.GeoDataFrame, refined: gpd.GeoDataFrame, ledger: Ledger) -> None:
    """Labels before + ledger = labels after, by class and by geometry; each chain starts where it should."""
    table = ledger.table()
    change = (table["area_after_m2"] - table["area_before_m2"]).groupby(table["class"]).sum()
    whole = raw[~raw.geometry.isna()]
    before = pd.Series(geodesic_area_m2(whole.geometry), index=whole["class"].to_numpy()).groupby(level=0).sum()
    after = pd.Series(geodesic_area_m2(refined.geometry), index=refined["class"].to_numpy()).groupby(level=0).sum()
    for name in {*before.index, *change.index}:
        assert before.get(name, 0) + change.get(name, 0) == pytest.approx(after.get(name, 0), rel=1e-6, abs=1)
    last = table.groupby(["scene", "source_id"])["area_after_m2"].last()
    remaining = {k for k, v in last.items() if v > 0}
    assert remaining == set(zip(refined["scene"], refined["source_id"], strict=True))
    for _, chain in table.groupby(["scene", "source_id"]):
        assert np.allclose(chain["area_before_m2"].to_numpy()[1:], chain["area_after_m2"].to_numpy()[:-1])


def disjoint(refined: gpd.GeoDataFrame) -> bool:
    return bool(refined.union_all().area == pytest.approx(refined.area.sum()))


@pytest.mark.parametrize(("becomes", "expected"), [
    ("vegetation", {"town": 300, "vegetation": 400}),
    ("ignore", {"town": 300, "ignore": 100, "vegetation": 300}),
    ("soil", {"town": 300, "soil": 100, "vegetation": 300}),
])
def test_carved_ground_becomes_what_the_rule_says(scene: Path, frame_of: Frames, becomes: str,
                                                  expected: dict[str, float]) -> None:
    raw = frame_of(("town", box(30, 30, 50, 50)))
    refined, ledger = refined_by(scene, raw, params(rule(min_area_m2=1000, becomes=becomes)))
    assert areas(refined) == expected
    assert disjoint(refined)
    balance(raw, refined, ledger)
    assert events(ledger, "source_id", "action") == [
        ("a", "carved"), ("a/NDVI:vegetation", "added"), ("NDVI:vegetation-00000", "added")]


def test_only_named_classes_are_carved_and_others_stay_on_top(scene: Path, frame_of: Frames) -> None:
    raw = frame_of(("park", box(20, 20, 30, 40)), ("ignore", box(30, 20, 35, 40)))
    refined, ledger = refined_by(scene, raw, params(rule()))
    assert areas(refined) == {"park": 200, "ignore": 100, "vegetation": 101}
    balance(raw, refined, ledger)


def test_without_add_nothing_appears_outside_outlines(scene: Path, frame_of: Frames) -> None:
    raw = frame_of(("town", box(30, 30, 50, 50)))
    refined, ledger = refined_by(scene, raw, params(rule(add=False, becomes="ignore")))
    assert areas(refined) == {"town": 300, "ignore": 100}
    balance(raw, refined, ledger)


def test_the_first_rule_that_claims_ground_keeps_it(scene: Path, frame_of: Frames) -> None:
    raw = frame_of(("town", box(50, 0, 100, 50)))
    greedy = rule("NDWI", "water", above=-2.0, becomes="water")
    rules = params(rule("NDWI", "water", becomes="water"), greedy | {"target": "town"})
    refined, ledger = refined_by(scene, raw, rules)
    assert areas(refined)["water"] == 1000 + 2000
    assert disjoint(refined)
    balance(raw, refined, ledger)


def test_small_remains_are_dropped_and_confidence_is_kept(scene: Path, frame_of: Frames) -> None:
    raw = frame_of(("town", box(20, 20, 40, 40.5)), ("town", box(0, 0, 10, 10)))
    chosen = params(rule(min_area_m2=1000, becomes="vegetation"), min_polygon_m2=5000, outline_confidence=0.8,
                    derived_confidence=0.5)
    refined, ledger = refined_by(scene, raw, chosen)
    assert areas(refined) == {"town": 100, "vegetation": 400}
    assert dict(zip(refined["class"], refined["confidence"], strict=True)) == {"town": 0.8, "vegetation": 0.5}
    balance(raw, refined, ledger)


def test_an_untidy_file_over_two_scenes_balances(tmp_path: Path, scene: Path, grid: Grid, frame_of: Frames) -> None:
    east = Grid(grid.crs_wkt, grid.transform @ grid.transform.translation(100, 0), 100, 100)
    raster_io.write(tmp_path / "east.tif", raster_io.read(scene), east, ["green", "red", "nir"], nodata=0)
    tie = Polygon([(10, 10), (40, 40), (40, 12), (10, 38)])
    raw = frame_of(("town", tie), ("town", box(50, 5, 55, 9)), ("town", box(50, 5, 55, 9)), ("town", None),
                   ("park", box(52, 7, 75, 20)), ("town", box(500, 500, 510, 510)), ("town", box(110, 10, 140, 30)),
                   ("town", box(-5, 60, 1, 70)), crs="EPSG:4326")
    rules = params(rule("NDWI", "water", becomes="water"), rule(min_area_m2=1000), min_polygon_m2=100)
    result = refine_all([scene, tmp_path / "east.tif"], raw, rules, 10000)
    refined, ledger = result.labels, result.ledger
    balance(raw, refined, ledger)
    assert all(disjoint(own) for _, own in refined.groupby("scene"))
    strays = [(name, reason) for name, reason, where in events(ledger, "source_id", "reason", "scene") if where == ""]
    assert strays == [("d", "has no geometry"), ("f", "beyond every scene")]
    assert set(ledger.table()["action"]) == {"kept", "repaired", "clipped", "carved", "dropped", "added"}


def test_no_rules_keep_outlines_as_they_are(scene: Path, frame_of: Frames) -> None:
    raw = frame_of(("town", box(30, 30, 50, 50)))
    refined, ledger = refined_by(scene, raw, params())
    assert refined.geometry.iloc[0].equals(raw.geometry.iloc[0])
    assert events(ledger, "action", "reason") == [("kept", "as it came")]


def test_scenes_of_different_crs_share_geographic_labels(tmp_path: Path, scene: Path, grid: Grid,
                                                         frame_of: Frames) -> None:
    lonlat = gpd.GeoSeries.from_xy([700500], [9309500], crs=32748).to_crs(4326).iloc[0]
    other = Grid(CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, lonlat.x, 0, -1e-4, lonlat.y), 100, 100)
    raster_io.write(tmp_path / "lonlat.tif", raster_io.read(scene), other, ["green", "red", "nir"], nodata=0)
    outlines = frame_of(("town", box(45, 45, 60, 60)))
    refined = refine_all([scene, tmp_path / "lonlat.tif"], outlines, params(), 10000).labels
    assert refined.crs.to_epsg() == 4326
    assert refined["scene"].tolist() == ["s", "lonlat"]


def test_the_ledger_file_is_equal_for_equal_rows(tmp_path: Path, scene: Path, frame_of: Frames) -> None:
    files = []
    for name in "xy":
        _, ledger = refined_by(scene, frame_of(("town", box(30, 30, 50, 50))), params(rule()))
        ledger.write(tmp_path / f"{name}.parquet")
        files.append((tmp_path / f"{name}.parquet").read_bytes())
    assert files[0] == files[1]
    columns = ["scene", "source_id", "class", "action", "reason", "area_before_m2", "area_after_m2"]
    assert pd.read_parquet(tmp_path / "x.parquet").columns.tolist() == columns


@pytest.mark.parametrize("seed", range(8))
def test_labels_before_are_labels_after_and_the_ledger(tmp_path: Path, grid: Grid, frame_of: Frames, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 3, (10, 10)).repeat(10, 0).repeat(10, 1)
    levels = np.array([(1500, *BARE), (800, *TREES), (700, *WATER)], dtype=np.uint16)
    image = levels[np.where(rng.random(grid.shape) < 0.1, rng.integers(0, 3, grid.shape), ground)]
    image[:5, :7] = 0
    raster_io.write(tmp_path / "s.tif", image, grid, ["green", "red", "nir"], nodata=0)
    angle = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    shapes = []
    for _ in range(30):
        radius, middle = rng.uniform(2, 14, 7), rng.uniform(-5, 105, 2)
        shapes.append((str(rng.choice(["town", "park"])), Polygon(middle + radius[:, None] * np.stack(
            [np.cos(angle * rng.choice([1, 2])), np.sin(angle)], axis=1))))
    raw = frame_of(*shapes)
    raw["source_id"] = [f"o{i}" for i in range(len(raw))]
    action = [{"action": "carve"}, {"action": "carve", "min_fraction": 0.3}, {"action": "drop", "min_fraction": 0.4},
              {"action": "keep"}]
    first, second = rng.choice(4, 2)
    rules = [{**rule("NDWI", "water", min_area_m2=1000, carve_from=["town", "park"]), **action[first]},
             {**rule(add=bool(rng.integers(2))), **action[second]}]
    result = refine_all([tmp_path / "s.tif"], raw, params(*rules, min_polygon_m2=500), 10000)
    balance(raw, result.labels, result.ledger)
    assert disjoint(result.labels)
    assert result.labels.is_valid.all()
    assert not result.labels["source_id"].duplicated().any()


def test_labels_of_a_scene_are_moved_first(scene: Path, frame_of: Frames) -> None:
    raw, chosen = frame_of(("town", box(30, 30, 50, 50))), params(rule(add=False), shift={"s": {"east_m": 100.0}})
    refined, _ = refined_by(scene, raw, chosen)
    assert refined.total_bounds == pytest.approx([700400, 9309500, 700600, 9309700], abs=0.5)


def test_thresholds_and_what_came_of_them_are_told(scene: Path, grid: Grid, frame_of: Frames) -> None:
    rules = params(rule("NDWI", "water", becomes="water"),
                   rule("DVI", above=None, method="otsu", bounds=(0.1, 0.3)))
    told = refine_all([scene], frame_of(("town", box(30, 30, 50, 50))), rules, 10000).thresholds
    assert [{k: t[k] for k in ("scene", "target", "index", "method", "side")} for t in told] == [
        {"scene": "s", "target": "water", "index": "NDWI", "method": "fixed", "side": "above"},
        {"scene": "s", "target": "vegetation", "index": "DVI", "method": "otsu", "side": "above"}]
    assert told[0]["threshold"] == 0.3
    assert told[1]["threshold"] == pytest.approx(0.31 / 2, rel=1e-3)
    columns = ("area_m2", "carved_m2", "added_m2", "dropped_m2")
    pixels = [[round(t[k] / grid.pixel_area_m2) for k in columns] for t in told]
    assert pixels == [[1000, 0, 1000, 0], [401, 100, 301, 0]]
    assert [t["areas"] for t in told] == [1, 2]
