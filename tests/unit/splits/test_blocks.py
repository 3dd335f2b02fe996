"""Blocks are metres on the ground, on one lattice where scenes share it, with no sliver at the edge."""

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer

from pipeline.geo.grid import Grid
from pipeline.splits.blocks import lay_blocks
from pipeline.types import Window
from tests.unit.splits.conftest import StoreMaker, grid_of

#: A corner of cells of 30 m: 699,990 = 23,333 x 30 and 9,309,990 = 310,333 x 30.
ALIGNED = (699_990.0, 9_309_990.0)


def test_edge_remainders_are_small_blocks_and_ids_run_row_by_row(make_store: StoreMaker) -> None:
    store = make_store({"s": np.zeros((5, 7), dtype=np.uint8)}, grids={"s": grid_of((5, 7), origin=ALIGNED)})
    blocks = lay_blocks(store, 30)  # 3 px
    assert blocks.count == 6
    assert blocks["s"].ids.tolist() == [[1, 2, 3], [4, 5, 6]]
    ids = blocks["s"].ids_in(Window(0, 0, 5, 7))
    assert ids[2].tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert ids[4].tolist() == [4, 4, 4, 5, 5, 5, 6]
    assert list(blocks["s"].windows())[5] == (6, Window(3, 6, 2, 1))


def test_blocks_without_a_valid_pixel_are_none(make_store: StoreMaker) -> None:
    valid = np.ones((4, 4), dtype=np.uint8)
    valid[:2, :2] = 0
    valid[2:, 2:] = [[0, 0], [0, 1]]
    blocks = lay_blocks(make_store({"s": np.zeros((4, 4), np.uint8)}, valid={"s": valid}), 20)
    assert blocks["s"].ids.tolist() == [[0, 1], [2, 3]]


def test_ids_are_unique_over_scenes(make_store: StoreMaker) -> None:
    labels = np.zeros((4, 4), np.uint8)
    store = make_store({"b": labels, "a": labels}, grids={"b": grid_of((4, 4), origin=(0.0, 9_000_000.0))})
    blocks = lay_blocks(store, 20)
    assert blocks["a"].ids.tolist() == [[1, 2], [3, 4]]
    assert blocks["b"].ids.tolist() == [[5, 6], [7, 8]]


def test_a_block_is_metres_on_the_ground_not_in_mercator(make_store: StoreMaker) -> None:
    grid = grid_of((40, 40), "EPSG:3395", 10.0, (15_600_000.0, 4_280_000.0))  # 36 N: 8.1 m on the ground
    blocks = lay_blocks(make_store({"s": np.zeros((40, 40), np.uint8)}, grids={"s": grid}), 81)
    assert (blocks["s"].height_px, blocks["s"].width_px) == (10, 10)


def test_rows_and_columns_are_converted_separately(make_store: StoreMaker) -> None:
    grid = grid_of((40, 40), "EPSG:4326", 0.0001, (20.0, 60.0))  # 60 N: degrees are half as wide as high
    blocks = lay_blocks(make_store({"s": np.zeros((40, 40), np.uint8)}, grids={"s": grid}), 111.5)
    assert (blocks["s"].height_px, blocks["s"].width_px) == (10, 20)


def test_a_block_is_at_least_a_pixel(make_store: StoreMaker) -> None:
    assert lay_blocks(make_store({"s": np.zeros((2, 3), np.uint8)}), 1).count == 6


def test_outlines_lie_on_the_ground(make_store: StoreMaker) -> None:
    grids = {"s": grid_of((5, 7), origin=ALIGNED)}
    frame = lay_blocks(make_store({"s": np.zeros((5, 7), np.uint8)}, grids=grids), 30).frame()
    assert frame.crs.to_epsg() == 32748
    assert frame.geometry[5].bounds == (700_050.0, 9_309_940.0, 700_060.0, 9_309_960.0)


def test_scenes_in_several_crs_share_a_geographic_frame(make_store: StoreMaker) -> None:
    labels = np.zeros((4, 4), np.uint8)
    store = make_store({"a": labels, "b": labels}, grids={"b": grid_of((4, 4), "EPSG:32749")})
    frame = lay_blocks(store, 20).frame()
    assert frame.crs.to_epsg() == 4326
    assert frame.geometry[0].centroid.x == pytest.approx(106.8, abs=0.1)
    assert frame.geometry[4].centroid.x == pytest.approx(112.8, abs=0.1)


def test_dates_of_one_footprint_are_the_same_places(make_store: StoreMaker) -> None:
    labels = np.zeros((4, 4), np.uint8)
    blocks = lay_blocks(make_store({"t0": labels, "t1": labels}), 20)
    assert blocks.places().tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_scenes_that_touch_share_no_place(make_store: StoreMaker) -> None:
    labels = np.zeros((4, 4), np.uint8)
    east = grid_of((4, 4), origin=(700_040.0, 9_310_000.0))
    store = make_store({"a": labels, "b": labels}, grids={"b": east})
    assert lay_blocks(store, 20).places().tolist() == list(range(8))


def test_scenes_off_by_whole_pixels_share_the_lattice(make_store: StoreMaker) -> None:
    """Counted from 699,960 = 17,499 x 40, a cuts after 4 and 8 px; b, 30 m farther on, after 1, 5 and 9."""
    labels = np.zeros((4, 12), np.uint8)
    grids = {"a": grid_of((4, 12), origin=(699_960.0, 9_310_000.0)),
             "b": grid_of((4, 12), origin=(699_990.0, 9_310_000.0))}
    blocks = lay_blocks(make_store({"a": labels, "b": labels}, grids=grids), 40)
    assert blocks["a"].lattice.cols.edges.tolist() == [0, 4, 8, 12]
    assert blocks["b"].lattice.cols.edges.tolist() == [0, 1, 5, 9, 12]
    assert blocks.places().tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_dates_shifted_both_ways_leave_all_places_apart(make_store: StoreMaker) -> None:
    labels = np.zeros((32, 32), np.uint8)
    shifted = grid_of((32, 32), origin=(700_030.0, 9_309_970.0))
    blocks = lay_blocks(make_store({"a": labels, "b": labels}, grids={"b": shifted}), 80)
    place = blocks.places()
    assert np.unique(place).size == 25  # 5 x 5 cells hold both: 700,000 is a cell's corner, the last 3 px are b's
    rows, cols = np.indices((29, 29))
    ids = [blocks[i].ids_in(Window(0, 0, 32, 32)) for i in ("a", "b")]
    assert (place[ids[0][rows + 3, cols + 3] - 1] == place[ids[1][rows, cols] - 1]).all()  # one ground, one place


@pytest.mark.parametrize("pixel", [10.0, 20.0, 30.0])
def test_pixels_askew_of_the_lattice_tie_no_neighbours(make_store: StoreMaker, pixel: float) -> None:
    grids = {"a": grid_of((48, 48)),
             "b": grid_of((int(480 / pixel),) * 2, pixel=pixel, origin=(700_004.0, 9_309_997.0))}
    store = make_store({i: np.zeros(g.shape, np.uint8) for i, g in grids.items()}, grids=grids)
    blocks = lay_blocks(store, 120)
    place = blocks.places()
    assert np.unique(place).size >= 16
    assert np.bincount(place).max() <= 2  # a place is at most a block of each


def test_a_phase_of_half_a_pixel_cuts_scenes_alike(make_store: StoreMaker) -> None:
    """Landsat's corners lie at 15 m, so pixel centres lie where cells counted from 0 would end."""
    origins = ((390_045.0, 5_820_315.0), (393_015.0, 5_817_435.0))
    grids = {f"t{i}": grid_of((300, 300), "EPSG:32633", 30.0, origin) for i, origin in enumerate(origins)}
    store = make_store({i: np.zeros(g.shape, np.uint8) for i, g in grids.items()}, grids=grids)
    blocks = lay_blocks(store, 900)
    place = blocks.places()
    east, south = 99, 96
    first = blocks["t0"].ids_in(Window(south, east, 300 - south, 300 - east))
    second = blocks["t1"].ids_in(Window(0, 0, 300 - south, 300 - east))
    assert (place[first - 1] == place[second - 1]).all()
    assert np.unique(place[first - 1]).size >= 49


def test_a_thin_edge_joins_its_neighbour(make_store: StoreMaker) -> None:
    labels = np.zeros((8, 18), np.uint8)
    grid = grid_of((8, 18), origin=(699_910.0, 9_310_000.0))  # cells of 80 m end 10 m and 90 m east, 90 m is the end
    blocks = lay_blocks(make_store({"s": labels}, grids={"s": grid}), 80)
    assert blocks["s"].lattice.cols.edges.tolist() == [0, 9, 18]
    other = grid_of((8, 18), origin=(699_840.0, 9_310_000.0))  # has all of the first cell, so there it stays apart
    both = lay_blocks(make_store({"s": labels, "t": labels}, grids={"s": grid, "t": other}), 80)
    assert both["s"].lattice.cols.edges.tolist() == [0, 1, 9, 18]
    assert both.places().tolist() == [0, 1, 2, 0, 1, 2]


def test_a_scene_narrower_than_two_slivers_is_one_block(make_store: StoreMaker) -> None:
    grid = grid_of((8, 2), origin=(699_910.0, 9_310_000.0))
    blocks = lay_blocks(make_store({"s": np.zeros((8, 2), np.uint8)}, grids={"s": grid}), 80)
    assert blocks["s"].lattice.cols.edges.tolist() == [0, 2]


def test_south_up_scenes_share_the_lattice(make_store: StoreMaker) -> None:
    up = grid_of((24, 24))
    down = Grid(up.crs_wkt, Affine(10, 0, 700_000, 0, 10, 9_309_760), 24, 24)
    labels = np.zeros((24, 24), np.uint8)
    blocks = lay_blocks(make_store({"a": labels, "b": labels}, grids={"a": up, "b": down}), 70)
    place, window = blocks.places(), Window(0, 0, 24, 24)
    assert (place[blocks["a"].ids_in(window) - 1] == place[blocks["b"].ids_in(window)[::-1] - 1]).all()


def test_blocks_of_overlapping_crss_tie_together(make_store: StoreMaker) -> None:
    x, y = Transformer.from_crs(32748, 32749, always_xy=True).transform(833_000, 9_310_000)
    grids = {"a": grid_of((24, 24), origin=(833_000.0, 9_310_000.0)),
             "b": grid_of((24, 24), "EPSG:32749", origin=(x, y))}
    store = make_store({i: np.zeros((24, 24), np.uint8) for i in grids}, grids=grids)
    blocks = lay_blocks(store, 80)
    assert blocks.foreign_ties().shape[1] > 0
    assert np.unique(blocks.places()).size < blocks.count / 2
