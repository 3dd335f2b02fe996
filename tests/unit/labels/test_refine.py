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
from pipeline.labels.refine import refine_all, refine_scene
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
        assert before.get(name, 0) + change.get(name, 0) == pytest.approx(after.get(name, 0), abs=1e-3)
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
    raw, ledger = frame_of(("town", box(30, 30, 50, 50))), Ledger()
    refined = refine_scene(scene, raw, params(rule(min_area_m2=1000, becomes=becomes)), 10000, ledger)
    assert areas(refined) == expected
    assert disjoint(refined)
    balance(raw, refined, ledger)
    assert [(r.source_id, r.action) for r in ledger.rows] == [
        ("a", "carved"), ("a/NDVI:vegetation", "added"), ("NDVI:vegetation-00000", "added")]


def test_only_named_classes_are_carved_and_others_stay_on_top(scene: Path, frame_of: Frames) -> None:
    raw, ledger = frame_of(("park", box(20, 20, 30, 40)), ("ignore", box(30, 20, 35, 40))), Ledger()
    refined = refine_scene(scene, raw, params(rule()), 10000, ledger)
    assert areas(refined) == {"park": 200, "ignore": 100, "vegetation": 101}
    balance(raw, refined, ledger)


def test_without_add_nothing_appears_outside_outlines(scene: Path, frame_of: Frames) -> None:
    raw, ledger = frame_of(("town", box(30, 30, 50, 50))), Ledger()
    refined = refine_scene(scene, raw, params(rule(add=False, becomes="ignore")), 10000, ledger)
    assert areas(refined) == {"town": 300, "ignore": 100}
    balance(raw, refined, ledger)


def test_the_first_rule_that_claims_ground_keeps_it(scene: Path, frame_of: Frames) -> None:
    raw, ledger = frame_of(("town", box(50, 0, 100, 50))), Ledger()
    greedy = rule("NDWI", "water", above=-2.0, becomes="water")
    rules = params(rule("NDWI", "water", becomes="water"), greedy | {"target": "town"})
    refined = refine_scene(scene, raw, rules, 10000, ledger)
    assert areas(refined)["water"] == 1000 + 2000
    assert disjoint(refined)
    balance(raw, refined, ledger)


def test_small_remains_are_dropped_and_confidence_is_kept(scene: Path, frame_of: Frames) -> None:
    raw, ledger = frame_of(("town", box(20, 20, 40, 40.5)), ("town", box(0, 0, 10, 10))), Ledger()
    chosen = params(rule(min_area_m2=1000, becomes="vegetation"), min_polygon_m2=5000, outline_confidence=0.8,
                    derived_confidence=0.5)
    refined = refine_scene(scene, raw, chosen, 10000, ledger)
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
    refined, ledger = refine_all([scene, tmp_path / "east.tif"], raw, rules, 10000)
    balance(raw, refined, ledger)
    assert all(disjoint(own) for _, own in refined.groupby("scene"))
    strays = [(r.source_id, r.reason) for r in ledger.rows if r.scene == ""]
    assert strays == [("d", "has no geometry"), ("f", "beyond every scene")]
    assert set(ledger.table()["action"]) == {"kept", "repaired", "clipped", "carved", "dropped", "added"}


def test_no_rules_keep_outlines_as_they_are(scene: Path, frame_of: Frames) -> None:
    raw, ledger = frame_of(("town", box(30, 30, 50, 50))), Ledger()
    refined = refine_scene(scene, raw, params(), 10000, ledger)
    assert refined.geometry.iloc[0].equals(raw.geometry.iloc[0])
    assert [(r.action, r.reason) for r in ledger.rows] == [("kept", "as it came")]


def test_scenes_of_different_crs_share_geographic_labels(tmp_path: Path, scene: Path, grid: Grid,
                                                         frame_of: Frames) -> None:
    lonlat = gpd.GeoSeries.from_xy([700500], [9309500], crs=32748).to_crs(4326).iloc[0]
    other = Grid(CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, lonlat.x, 0, -1e-4, lonlat.y), 100, 100)
    raster_io.write(tmp_path / "lonlat.tif", raster_io.read(scene), other, ["green", "red", "nir"], nodata=0)
    refined, _ = refine_all([scene, tmp_path / "lonlat.tif"], frame_of(("town", box(45, 45, 60, 60))), params(), 10000)
    assert refined.crs.to_epsg() == 4326
    assert refined["scene"].tolist() == ["s", "lonlat"]


def test_the_ledger_file_is_equal_for_equal_rows(tmp_path: Path, scene: Path, frame_of: Frames) -> None:
    files = []
    for name in "xy":
        ledger = Ledger()
        refine_scene(scene, frame_of(("town", box(30, 30, 50, 50))), params(rule()), 10000, ledger)
        ledger.write(tmp_path / f"{name}.parquet")
        files.append((tmp_path / f"{name}.parquet").read_bytes())
    assert files[0] == files[1]
    columns = ["scene", "source_id", "class", "action", "reason", "area_before_m2", "area_after_m2"]
    assert pd.read_parquet(tmp_path / "x.parquet").columns.tolist() == columns
