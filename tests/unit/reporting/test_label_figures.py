"""Figures of refined labels: their numbers by hand, and windows that lie inside the scene."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from pyproj import CRS
from shapely.geometry import box

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.params.task import Task
from pipeline.reporting import label_figures
from pipeline.reporting.label_changes import Comparison, WindowCounts, compare
from pipeline.reporting.label_figures import ledger_numbers, outline_figure
from pipeline.scenes import burnt
from pipeline.scenes.burnt import LabelSet
from pipeline.types import Window

BANDS = ("red", "nir")


def test_the_ledger_in_hectares_by_class_and_action() -> None:
    rows = [("s", "a", "town", "repaired", 20000.0, 30000.0), ("s", "a", "town", "carved", 30000.0, 10000.0),
            ("s", "b", "town", "dropped", 5000.0, 0.0), ("s", "a/i", "water", "added", 0.0, 20000.0)]
    columns = ["scene", "source_id", "class", "action", "area_before_m2", "area_after_m2"]
    numbers = ledger_numbers(pd.DataFrame(rows, columns=columns))
    assert numbers["actions"] == {"added": 1, "carved": 1, "dropped": 1, "repaired": 1}
    assert numbers["hectares"] == {
        "town": {"before": 2.5, "after": 1.0, "repaired": 1.0, "carved": -2.0, "dropped": -0.5},
        "water": {"before": 0.0, "after": 2.0, "added": 2.0}}


def busiest(changed: np.ndarray, rows: int) -> Window:
    counts = WindowCounts(*changed.shape)
    for row in range(0, len(changed), rows):
        band = changed[row:row + rows]
        counts.add(Window(row, 0, len(band), changed.shape[1]), band)
    assert counts.total == changed.sum()
    return counts.busiest()


@pytest.mark.parametrize("rows", [400, 256, 33])
def test_the_busiest_window_lies_inside(rows: int) -> None:
    changed = np.zeros((400, 500), dtype=np.bool_)
    changed[170:200, 330:340] = True
    changed[399, :] = changed[:, 499] = True
    assert busiest(changed, rows) == Window(160, 320, 160, 160)
    assert busiest(np.zeros((40, 100), dtype=np.bool_), rows) == Window(0, 0, 40, 40)


GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 40, 60)
CLASSES = ("land", "town", "water")


def square(name: str, left: int, top: int, right: int, bottom: int) -> gpd.GeoDataFrame:
    shape = box(700000 + 10 * left, 9310000 - 10 * bottom, 700000 + 10 * right, 9310000 - 10 * top)
    return gpd.GeoDataFrame({"class": [name], "scene": ["s"], "confidence": [1.0]}, geometry=[shape], crs=GRID.crs)


def test_both_label_sets_are_held_against_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    truth[:10, :10], truth[-1] = 1, 255
    raster_io.write(tmp_path / "truth.tif", truth, GRID, ["class"], 255)
    labels = LabelSet(square("town", 0, 0, 10, 10), square("town", 0, 0, 20, 10), CLASSES, 0)
    monkeypatch.setattr("pipeline.reporting.label_changes.DETAIL_PX", 10)
    for rows in (7, 256):
        monkeypatch.setattr(burnt, "_ROWS", rows)
        found = compare(labels, GRID, tmp_path)
        assert found.before is not None
        assert found.after is not None
        assert found.before.matrix.tolist() == [[39 * 60 - 200, 100, 0], [0, 100, 0], [0, 0, 0]]
        assert found.after.matrix.tolist() == [[39 * 60 - 100, 0, 0], [0, 100, 0], [0, 0, 0]]
        assert (found.detail, found.reason) == (Window(0, 10, 10, 10), "where outlines changed most")
    swapped = compare(LabelSet(labels.unrefined, labels.refined, CLASSES, 0), GRID, tmp_path)
    assert (swapped.detail, swapped.reason) == (Window(0, 10, 10, 10), "where labels changed most")
    same = compare(LabelSet(labels.refined, labels.refined, CLASSES, 0), GRID, tmp_path / "none")
    assert (same.before, same.after, same.reason) == (None, None, "unchanged, where most is labelled")


def test_outlines_on_a_scene_in_degrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, 23.9, 0, -1e-4, 60.1), 200, 200)
    raster_io.write(tmp_path / "s.tif", np.random.default_rng(1).random((200, 200, 2), dtype=np.float32), grid, BANDS)
    boxes = [box(23.905, 60.085, 23.915, 60.095), box(23.901, 60.081, 23.9012, 60.0812)]
    frame = gpd.GeoDataFrame({"class": ["town", "ignore"], "source_id": ["a", "b"]}, geometry=boxes, crs=grid.crs)
    task = Task.model_validate({"bands": BANDS, "background": "land", "classes": [
        {"name": "land", "color": "#000000"}, {"name": "town", "color": "#ff0000"}]})
    found = Comparison(None, None, Window(0, 0, 160, 160), "where labels changed most")
    pictures = []
    for most in (4000, 1):
        monkeypatch.setattr(label_figures, "_MOST_OUTLINES", most)
        outline_figure(tmp_path / "s.png", tmp_path / "s.tif", found, frame, frame, task)
        pictures.append((tmp_path / "s.png").read_bytes())
    assert pictures[0] != pictures[1], "only the largest outline, and it says so"


def test_pieces_of_derived_ground_are_drawn_as_one(tmp_path: Path) -> None:
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 64, 64)
    raster_io.write(tmp_path / "s.tif", np.zeros((64, 64, 2), dtype=np.float32), grid, BANDS)
    task = Task.model_validate({"bands": BANDS, "background": "land", "classes": [
        {"name": "land", "color": "#000000"}, {"name": "water", "color": "#0000ff"}]})
    outlines = gpd.GeoDataFrame({"class": ["land"], "source_id": ["a"]}, crs=grid.crs,
                                geometry=[box(700000, 9309900, 700100, 9310000)])
    pieces = [box(700200, 9309500, 700320, 9309700), box(700320, 9309500, 700400, 9309700)]
    found = Comparison(None, None, Window(0, 0, 64, 64), "where labels changed most")
    pictures = []
    for shapes in (pieces, [pieces[0].union(pieces[1])]):
        derived = gpd.GeoDataFrame({"class": "water", "source_id": [f"NDWI:water-{i}" for i in range(len(shapes))]},
                                   geometry=shapes, crs=grid.crs)
        refined = gpd.GeoDataFrame(pd.concat([outlines, derived], ignore_index=True), crs=grid.crs)
        outline_figure(tmp_path / "s.png", tmp_path / "s.tif", found, outlines, refined, task)
        pictures.append((tmp_path / "s.png").read_bytes())
    assert pictures[0] == pictures[1]
