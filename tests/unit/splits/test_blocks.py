import numpy as np
import pytest

from pipeline.splits.blocks import lay_blocks
from pipeline.types import Window
from tests.unit.splits.conftest import StoreMaker, grid_of


def test_edge_remainders_are_small_blocks_and_ids_run_row_by_row(make_store: StoreMaker) -> None:
    store = make_store({"s": np.zeros((5, 7), dtype=np.uint8)})
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


def test_core_keeps_what_no_buffer_reaches(make_store: StoreMaker) -> None:
    blocks = lay_blocks(make_store({"s": np.zeros((8, 4), np.uint8)}), 40)
    core = blocks["s"].core(Window(0, 0, 8, 4), 15)  # reaches one pixel of the other block (10 m), not two
    assert core.any(axis=1).tolist() == [True, True, True, False, False, True, True, True]
    assert blocks["s"].core(Window(3, 1, 2, 2), 15).any() == False  # noqa: E712
    assert blocks["s"].core(Window(0, 0, 8, 4), 0).all()


def test_outlines_lie_on_the_ground(make_store: StoreMaker) -> None:
    frame = lay_blocks(make_store({"s": np.zeros((5, 7), np.uint8)}), 30).frame()
    assert frame.crs.to_epsg() == 32748
    assert frame.geometry[5].bounds == (700_060.0, 9_309_950.0, 700_070.0, 9_309_970.0)


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


def test_an_offset_ties_blocks_together(make_store: StoreMaker) -> None:
    labels = np.zeros((2, 4), np.uint8)
    offset = grid_of((2, 4), origin=(700_030.0, 9_310_000.0))  # its first block lies half in a's last one
    store = make_store({"a": labels, "b": labels}, grids={"b": offset})
    assert lay_blocks(store, 20).places().tolist() == [0, 1, 1, 2]
