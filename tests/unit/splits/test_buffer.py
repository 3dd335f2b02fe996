from pathlib import Path

import numpy as np
import pytest

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.splits import buffer as buffer_module
from pipeline.splits.buffer import held_out_distances, train_ground
from pipeline.splits.plan import look_up_table
from pipeline.splits.split import Split
from tests.unit.splits.conftest import grid_of


def split_of(folder: Path, fold: np.ndarray, buffer_m: float, grid: Grid | None = None) -> tuple[Split, Grid]:
    grid = grid or grid_of(fold.shape)
    write(folder / "s/fold.tif", fold, grid, ["fold"], nodata=255)
    return Split(folder, 3, 0, buffer_m, ("a",), look_up_table((0,)), ()), grid


def test_without_a_buffer_every_train_pixel_trains(tmp_path: Path) -> None:
    fold = np.array([[0, 1, 2, 254, 255]], dtype=np.uint8)
    assert train_ground(*with_id(split_of(tmp_path, fold, 0))).tolist() == [[False, True, True, False, False]]


def with_id(pair: tuple[Split, Grid]) -> tuple[Split, str, Grid]:
    return pair[0], "s", pair[1]


@pytest.mark.parametrize(("buffer_m", "lost"), [(5, 0), (9, 0), (10.1, 1), (25, 2), (30.2, 3)])
def test_the_buffer_takes_pixels_whose_centre_is_in_it(tmp_path: Path, buffer_m: float, lost: int) -> None:
    fold = np.full((1, 8), 1, dtype=np.uint8)
    fold[0, :2] = 254
    kept = train_ground(*with_id(split_of(tmp_path, fold, buffer_m)))[0]
    assert kept.tolist() == [False] * (2 + lost) + [True] * (6 - lost)


def test_distance_is_euclidean_and_val_counts_as_held_out(tmp_path: Path) -> None:
    fold = np.full((4, 4), 2, dtype=np.uint8)
    fold[0, 0] = 0
    kept = train_ground(*with_id(split_of(tmp_path, fold, 21.0)))
    taken = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)  # (1, 2): 22.4 m
    assert (kept == ~taken).all()


def test_ground_without_block_takes_nothing(tmp_path: Path) -> None:
    fold = np.array([[255, 1, 1]], dtype=np.uint8)
    assert train_ground(*with_id(split_of(tmp_path, fold, 100))).tolist() == [[False, True, True]]


def test_a_mercator_pixel_is_smaller_than_it_says(tmp_path: Path) -> None:
    fold = np.full((1, 6), 1, dtype=np.uint8)
    fold[0, 0] = 254
    grid = grid_of((1, 6), "EPSG:3395", 10.0, (15_600_000.0, 4_280_000.0))  # 8.1 m on the ground
    kept = train_ground(*with_id(split_of(tmp_path, fold, 25, grid)))[0]
    assert kept.tolist() == [False, False, False, False, True, True]  # 8.1, 16.2 and 24.3 m are within 25 m


def test_bands_do_not_change_the_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    fold = np.where(rng.random((60, 20)) < 0.02, 254, 1).astype(np.uint8)
    split, grid = split_of(tmp_path, fold, 42)
    whole = train_ground(split, "s", grid)
    monkeypatch.setattr(buffer_module, "_BAND_PIXELS", 20)
    assert (train_ground(split, "s", grid) == whole).all()
    assert 0 < whole.sum() < (fold == 1).sum()


def test_distances_beyond_reach_are_infinite() -> None:
    held_out = np.zeros((1, 5), dtype=bool)
    held_out[0, 0] = True
    (_, distance), = held_out_distances(held_out, grid_of((1, 5)), 25)
    assert distance[0, :3] == pytest.approx([0, 10, 20], rel=1e-3)
    assert np.isinf(distance[0, 3:]).all()
