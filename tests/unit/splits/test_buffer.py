"""ground.tif: what trains, what the buffer takes, within a scene and across scenes."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer
from scipy.spatial import KDTree

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.splits import buffer as buffer_module
from pipeline.splits.buffer import HELD_OUT, distances, write_ground
from pipeline.splits.plan import look_up_table
from pipeline.splits.sample import Sample, positions_m
from pipeline.splits.split import Split
from tests.unit.splits.conftest import grid_of


def ground_of(folder: Path, folds: dict[str, np.ndarray], buffer_m: float,
              grids: dict[str, Grid] | None = None) -> dict[str, np.ndarray]:
    """ground.tif of every scene."""
    all_grids = {id_: (grids or {}).get(id_) or grid_of(fold.shape) for id_, fold in folds.items()}
    for id_, fold in folds.items():
        write(folder / id_ / "fold.tif", fold.astype(np.uint8), all_grids[id_], ["fold"], nodata=255)
    split = Split(folder, 3, 0, buffer_m, ("a",), look_up_table((0,)), ())
    for id_ in folds:
        write_ground(split, id_, tuple(all_grids.items()))
    return {id_: np.asarray(split.ground_map(id_)) for id_ in folds}


def test_without_a_buffer_every_train_pixel_trains(tmp_path: Path) -> None:
    assert ground_of(tmp_path, {"s": np.array([[0, 1, 2, 254, 255]])}, 0)["s"].tolist() == [[0, 2, 2, 0, 0]]


@pytest.mark.parametrize(("buffer_m", "lost"), [(5, 0), (9, 0), (10.1, 1), (25, 2), (30.2, 3)])
def test_the_buffer_takes_pixels_whose_centre_is_in_it(tmp_path: Path, buffer_m: float, lost: int) -> None:
    fold = np.full((1, 8), 1)
    fold[0, :2] = 254
    ground = ground_of(tmp_path, {"s": fold}, buffer_m)["s"][0]
    assert ground.tolist() == [0, 0] + [1] * lost + [2] * (6 - lost)


def test_distance_is_euclidean_and_val_counts_as_held_out(tmp_path: Path) -> None:
    fold = np.full((4, 4), 2)
    fold[0, 0] = 0
    ground = ground_of(tmp_path, {"s": fold}, 21.0)["s"]
    assert ground.tolist() == [[0, 1, 1, 2], [1, 1, 2, 2], [1, 2, 2, 2], [2, 2, 2, 2]]  # (1, 2): 22.4 m


def test_ground_without_block_takes_nothing(tmp_path: Path) -> None:
    assert ground_of(tmp_path, {"s": np.array([[255, 1, 1]])}, 100)["s"].tolist() == [[0, 2, 2]]


def test_a_mercator_pixel_is_smaller_than_it_says(tmp_path: Path) -> None:
    fold = np.full((1, 6), 1)
    fold[0, 0] = 254
    grid = grid_of((1, 6), "EPSG:3395", 10.0, (15_600_000.0, 4_280_000.0))  # 8.1 m on the ground
    ground = ground_of(tmp_path, {"s": fold}, 25, {"s": grid})["s"][0]
    assert ground.tolist() == [0, 1, 1, 1, 2, 2]  # 8.1, 16.2 and 24.3 m are within 25 m


def test_bands_do_not_change_the_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    folds = {id_: np.where(rng.random((60, 20)) < 0.02, 254, 1) for id_ in ("s", "t")}
    grids = {"t": grid_of((60, 20), origin=(700_200.0, 9_309_950.0))}
    whole = ground_of(tmp_path / "whole", folds, 42, grids)
    monkeypatch.setattr(buffer_module, "_BAND_PIXELS", 20)
    banded = ground_of(tmp_path / "banded", folds, 42, grids)
    for id_ in folds:
        assert (banded[id_] == whole[id_]).all()
        assert set(np.unique(whole[id_])) == {0, 1, 2}


def test_abutting_tiles_have_the_ground_of_one_mosaic(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    fold = np.where(rng.random((40, 60)) < 0.01, 0, 1)
    tiles = {"west": fold[:, :33], "east": fold[:, 33:]}
    grids = {"west": grid_of((40, 33)), "east": grid_of((40, 27), origin=(700_330.0, 9_310_000.0))}
    mosaic = ground_of(tmp_path / "one", {"s": fold}, 55)["s"]
    ground = ground_of(tmp_path / "two", tiles, 55, grids)
    assert (np.hstack([ground["west"], ground["east"]]) == mosaic).all()
    alone = ground_of(tmp_path / "alone", {"west": tiles["west"]}, 55)["west"]
    assert (alone != mosaic[:, :33]).any()  # the seam matters


def test_the_buffer_reaches_across_a_gap_and_not_farther(tmp_path: Path) -> None:
    folds = {"a": np.full((1, 4), 1), "b": np.full((1, 4), 254)}
    grids = {"b": grid_of((1, 4), origin=(700_060.0, 9_310_000.0))}  # a gap of two pixels
    assert ground_of(tmp_path / "x", folds, 29.5, grids)["a"].tolist() == [[2, 2, 2, 2]]
    assert ground_of(tmp_path / "y", folds, 45, grids)["a"].tolist() == [[2, 2, 1, 1]]


def centres(grid: Grid, mask: np.ndarray) -> np.ndarray:
    row, col = np.nonzero(mask)
    return positions_m([grid], Sample(np.zeros(len(row), np.intp), row, col))


@pytest.mark.parametrize("pixel", [10.0, 20.0, 3.3])
def test_across_crss_no_pixel_that_trains_is_within_the_buffer(tmp_path: Path, pixel: float) -> None:
    """Zone 32749's pixels lie askew in zone 32748; distances are checked between all centres, one by one."""
    own = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 833_000, 0, -10, 9_310_000), 40, 40)
    x, y = Transformer.from_crs(32748, 32749, always_xy=True).transform(833_395, 9_309_950)
    other = Grid(CRS.from_epsg(32749).to_wkt(), Affine(pixel, 0, x, 0, -pixel, y), int(300 / pixel), int(300 / pixel))
    folds = {"a": np.full((40, 40), 1), "b": np.full(other.shape, 254)}
    ground = ground_of(tmp_path, folds, 60, {"a": own, "b": other})["a"]
    tree = KDTree(centres(other, folds["b"] == 254))
    near, _ = tree.query(centres(own, np.ones((40, 40), bool)))
    near = near.reshape(40, 40)
    assert ((ground == 2) <= (near > 60)).all()
    assert (ground == 1).sum() > 50
    assert ((ground == 2) >= (near > 60 + 2 * 1.5 * max(pixel, 10))).all()  # and little more is lost


def test_train_ground_on_held_out_ground_of_another_scene_is_no_train_ground(tmp_path: Path) -> None:
    folds = {"a": np.full((2, 4), 1), "b": np.full((2, 4), 254)}
    grids = {"b": grid_of((2, 4), origin=(700_030.0, 9_310_000.0))}
    assert ground_of(tmp_path, folds, 0, grids)["a"].tolist() == [[2, 2, 2, 0]] * 2


def test_far_scenes_do_not_matter(tmp_path: Path) -> None:
    folds = {"a": np.full((2, 4), 1), "b": np.full((2, 4), 254)}
    grids = {"b": grid_of((2, 4), "EPSG:32633", origin=(500_000.0, 5_000_000.0))}
    assert (ground_of(tmp_path, folds, 100, grids)["a"] == 2).all()


def test_distances_beyond_reach_are_infinite(tmp_path: Path) -> None:
    ground_of(tmp_path, {"s": np.array([[254, 1, 1, 1, 1]])}, 0)
    split = Split(tmp_path, 3, 0, 0, ("a",), look_up_table((0,)), ())
    (_, distance), = distances(split, "s", (("s", grid_of((1, 5))),), HELD_OUT, 25)
    assert distance[0, :3] == pytest.approx([0, 10, 20], rel=1e-3)
    assert np.isinf(distance[0, 3:]).all()
    assert split.ground_map("s").tolist() == [[0, 2, 2, 2, 2]]
