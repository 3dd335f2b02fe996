"""Areas of a raster as rings: their corners, holes and windows, and any raster regained from them."""

import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.geo.rings import trace_windows
from pipeline.types import Window

HERE = Affine.identity()


def whole(values: NDArray[np.uint8]) -> list[Window]:
    return [Window(0, 0, *values.shape)]


def painted(polygons: NDArray[np.object_], values: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Values of the polygons over the pixel centres, 0 between them."""
    result = np.zeros(shape, dtype=np.uint8)
    rows, cols = np.indices(shape)
    for polygon, value in zip(polygons, values, strict=True):
        result[shapely.contains_xy(polygon, cols + 0.5, rows + 0.5)] += value
    return result


def test_a_square_with_a_hole_has_nine_corners_and_no_more() -> None:
    values = np.ones((3, 3), dtype=np.uint8)
    values[1, 1] = 0
    traced = trace_windows(values, Affine(10, 0, 100, 0, -10, 500), whole(values))
    assert shapely.get_num_coordinates(traced.polygons).tolist() == [10]
    assert traced.polygons[0].equals(shapely.box(100, 470, 130, 500) - shapely.box(110, 480, 120, 490))


def test_an_area_that_meets_itself_at_a_corner_encloses_a_hole() -> None:
    values = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=np.uint8)
    traced = trace_windows(values, HERE, whole(values))
    assert len(traced.polygons) == 1
    assert shapely.is_valid(traced.polygons).all()
    assert shapely.get_num_interior_rings(traced.polygons).tolist() == [1]
    assert traced.polygons[0].area == values.sum()


def test_areas_that_touch_at_a_corner_are_two() -> None:
    values = np.array([[3, 0], [0, 3]], dtype=np.uint8)
    traced = trace_windows(values, HERE, whole(values))
    assert [p.bounds for p in traced.polygons] == [(0, 0, 1, 1), (1, 1, 2, 2)]
    assert shapely.multipolygons(traced.polygons).is_valid


@pytest.mark.parametrize("seed", range(40))
def test_any_raster_becomes_its_four_connected_areas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, rng.integers(1, 24, 2)).astype(np.uint8)
    traced = trace_windows(values, HERE, whole(values))
    assert shapely.is_valid(traced.polygons).all()
    assert np.array_equal(painted(traced.polygons, traced.values, values.shape), values)
    assert len(traced.polygons) == sum(ndimage.label(values == v)[1] for v in (1, 2, 3))
    for value in (1, 2, 3):
        assert shapely.multipolygons(traced.polygons[traced.values == value]).is_valid


def test_every_pixel_may_be_an_area() -> None:
    rows, cols = np.indices((30, 41))
    values = (1 + (rows + cols) % 2).astype(np.uint8)
    traced = trace_windows(values, HERE, whole(values))
    assert len(traced.polygons) == values.size
    assert shapely.get_num_coordinates(traced.polygons).tolist() == [5] * values.size
    assert np.array_equal(painted(traced.polygons, traced.values, values.shape), values)


def test_windows_cut_areas_and_tables_say_what_counts() -> None:
    values = np.random.default_rng(2).integers(0, 3, (50, 70)).astype(np.uint8)
    windows = [Window(r, c, min(16, 50 - r), min(16, 70 - c)) for r in range(0, 50, 16) for c in range(0, 70, 16)]
    tables = np.zeros((2, 256), dtype=np.uint8)
    tables[0, 2], tables[1, 1:3] = 7, 1
    table_of = np.arange(len(windows)) % 2
    traced = trace_windows(values, HERE, windows, tables, table_of)
    expected = np.zeros_like(values)
    for window, table in zip(windows, table_of, strict=True):
        expected[window.slices] = tables[table][values[window.slices]]
    assert np.array_equal(painted(traced.polygons, traced.values, values.shape), expected)
    for polygon, index in zip(traced.polygons, traced.windows, strict=True):
        w = windows[index]
        assert shapely.box(w.col, w.row, w.col + w.width, w.row + w.height).covers(polygon)


def test_many_windows_come_in_batches_with_their_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).integers(0, 2, (64, 64)).astype(np.uint8)
    windows = [Window(r, c, 8, 8) for r in range(0, 64, 8) for c in range(0, 64, 8)]
    at_once = trace_windows(values, HERE, windows)
    monkeypatch.setattr("pipeline.geo.rings._BATCH_PX", 100)
    in_batches = trace_windows(values, HERE, windows)
    assert shapely.equals_exact(at_once.polygons, in_batches.polygons).all()
    assert np.array_equal(at_once.windows, in_batches.windows)


def test_nothing_is_traced_where_nothing_is() -> None:
    assert len(trace_windows(np.zeros((4, 4), dtype=np.uint8), HERE, [Window(0, 0, 4, 4)]).polygons) == 0
    assert len(trace_windows(np.ones((4, 4), dtype=np.uint8), HERE, []).polygons) == 0
