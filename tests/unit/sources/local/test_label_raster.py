"""A label raster becomes the same polygons however it is cut into tiles."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import burn, trace
from pipeline.params.acquire_local import LocalLabels
from pipeline.sources.local import label_raster
from pipeline.sources.local.label_raster import read_grid, trace_labels, translate

#: Pixels of an odd size, so that corners are no round numbers in CRS units.
GRID = Grid(CRS.from_epsg(32633).to_wkt(), Affine(9.9948, 0, 465181.052, 0, -9.99745, 5080254.633), 40, 53)
CLASSES = {"1": "a", "2": "b", "3": "a"}


def blobs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (14, 18)).astype(np.uint8)
    return np.kron(coarse, np.ones((3, 3), np.uint8))[:40, :53]


def traced(path: Path, values: np.ndarray, scenes: dict[str, Grid] | None = None) -> gpd.GeoDataFrame:
    raster_io.write(path, values, GRID, ["class"], 0)
    given = LocalLabels(path="l.tif", classes={k: v for k, v in CLASSES.items() if int(k) in values})
    return trace_labels(given, path, read_grid(given, path, "labels", "labels"), scenes or {"s": GRID})


@pytest.mark.parametrize("tile", [1, 7, 16, 100])
def test_tiles_give_the_polygons_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    monkeypatch.setattr(label_raster, "_TILE_PX", tile)
    values = blobs(tile)
    frame = traced(tmp_path / "l.tif", values)
    ids = translate(values, {"1": 0, "2": 1, "3": 0}, 255)
    whole = list(trace(ids, GRID, ids != 255))
    assert len(frame) == len(whole)
    assert np.array_equal(burn(list(frame.geometry), [0 if c == "a" else 1 for c in frame["class"]], GRID, 255), ids)
    mine = shapely.normalize(shapely.simplify(shapely.set_precision(frame.geometry.to_numpy(), 1e-4), 0))
    theirs = shapely.normalize(shapely.simplify(shapely.set_precision(np.array([g for g, _ in whole]), 1e-4), 0))
    assert sorted(shapely.area(mine).round(2)) == sorted(shapely.area(theirs).round(2))
    assert all(shapely.is_valid(frame.geometry.to_numpy()))


def test_equal_rasters_give_equal_polygons_whatever_the_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = []
    for tile in (9, 100):
        monkeypatch.setattr(label_raster, "_TILE_PX", tile)
        frames.append(traced(tmp_path / "l.tif", blobs(0)))
    assert frames[0]["class"].tolist() == frames[1]["class"].tolist()
    assert all(a.equals(b) for a, b in zip(frames[0].geometry, frames[1].geometry, strict=True))


def test_only_tiles_near_scenes_are_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_raster, "_TILE_PX", 10)
    corner = Grid(GRID.crs_wkt, GRID.transform, 8, 8)
    frame = traced(tmp_path / "l.tif", np.ones((40, 53), np.uint8), {"s": corner})
    left, _, _, top = GRID.bounds
    assert frame.total_bounds == pytest.approx((left, top - 10 * 9.99745, left + 10 * 9.9948, top))


def test_values_by_key() -> None:
    assert translate(np.array([[1.0, 2.5], [7, 1]]), {"1": 4, "2.5": 5}, 9).tolist() == [[4, 5], [9, 4]]
