from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine
from pyproj import CRS
from shapely.geometry import box

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.params.task import Task
from pipeline.reporting.label_figures import LabelMaps, busiest_window, ledger_numbers, outline_figure
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


def test_the_busiest_window_lies_inside() -> None:
    changed = np.zeros((400, 500), dtype=np.bool_)
    changed[170:200, 330:340] = True
    assert busiest_window(changed) == Window(160, 320, 160, 160)
    assert busiest_window(np.zeros((40, 100), dtype=np.bool_)) == Window(0, 0, 40, 40)


def test_outlines_on_a_scene_in_degrees(tmp_path: Path) -> None:
    grid = Grid(CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, 23.9, 0, -1e-4, 60.1), 200, 200)
    raster_io.write(tmp_path / "s.tif", np.random.default_rng(1).random((200, 200, 2), dtype=np.float32), grid, BANDS)
    frame = gpd.GeoDataFrame({"class": ["town"]}, geometry=[box(23.905, 60.085, 23.915, 60.095)], crs=grid.crs)
    task = Task.model_validate({"bands": BANDS, "background": "land", "classes": [
        {"name": "land", "color": "#000000"}, {"name": "town", "color": "#ff0000"}]})
    ids = np.zeros((200, 200), dtype=np.uint8)
    maps = LabelMaps(ids, ids + np.uint8(1), None)
    outline_figure(tmp_path / "s.png", tmp_path / "s.tif", maps, 0, frame, frame, task)
    assert (tmp_path / "s.png").stat().st_size > 0
