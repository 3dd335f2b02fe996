"""Least distances found in a tree against those of all pairs of pixels."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.splits import gap as gap_module
from pipeline.splits.gap import least_gaps
from pipeline.splits.plan import look_up_table
from pipeline.splits.sample import Sample, positions_m
from pipeline.splits.split import Split
from tests.unit.splits.conftest import grid_of


def split_of(folder: Path, folds: dict[str, np.ndarray], grounds: dict[str, np.ndarray],
             grids: dict[str, Grid]) -> Split:
    for id_, grid in grids.items():
        write(folder / id_ / "fold.tif", folds[id_].astype(np.uint8), grid, ["fold"], nodata=255)
        write(folder / id_ / "ground.tif", grounds[id_].astype(np.uint8), grid, ["ground"])
    return Split(folder, 3, 0, 10.0, ("a",), look_up_table((0,)), ())


def brute(grids: dict[str, Grid], own: str, trains: np.ndarray, held: dict[str, np.ndarray]) -> float:
    def xyz(grid: Grid, mask: np.ndarray) -> np.ndarray:
        row, col = np.nonzero(mask)
        return positions_m([grid], Sample(np.zeros(len(row), np.intp), row, col))

    others = np.concatenate([xyz(grids[i], mask) for i, mask in held.items()])
    return float(KDTree(others).query(xyz(grids[own], trains))[0].min())


@pytest.mark.parametrize("band_pixels", [50, 1_000_000])
@pytest.mark.parametrize("seed", range(6))
def test_the_least_of_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, band_pixels: int) -> None:
    """Two tiles side by side and one of another CRS beyond; train and held-out ground in random squares."""
    monkeypatch.setattr(gap_module, "_BAND_PIXELS", band_pixels)
    rng = np.random.default_rng(seed)
    grids = {"a": grid_of((40, 30), origin=(833_000.0, 9_310_000.0)),
             "b": grid_of((40, 30), origin=(833_330.0, 9_310_000.0)),
             "c": grid_of((30, 30), "EPSG:32749", origin=(170_000.0, 9_311_000.0))}
    folds, grounds = {}, {}
    for id_, grid in grids.items():
        blocks = rng.choice([0, 1, 254], (10, 8), p=[0.1, 0.8, 0.1])
        folds[id_] = np.kron(blocks, np.ones((5, 5), int))[:grid.height, :grid.width]
        grounds[id_] = np.where((folds[id_] == 1) & (rng.random(grid.shape) < 0.3), 2, 0)
    split = split_of(tmp_path, folds, grounds, grids)
    for id_ in ("a", "b"):
        for part, fold in (("val", 0), ("test", 254)):
            expected = brute(grids, id_, grounds[id_] == 2, {i: f == fold for i, f in folds.items()})
            assert least_gaps(split, id_, tuple(grids.items()), 500)[part] == pytest.approx(expected, rel=1e-6)


def test_beyond_reach_there_is_none(tmp_path: Path) -> None:
    fold = np.array([[0, 1, 1, 1, 1]])
    split = split_of(tmp_path, {"s": fold}, {"s": np.array([[0, 0, 0, 0, 2]])}, {"s": grid_of((1, 5))})
    grids = (("s", grid_of((1, 5))),)
    assert least_gaps(split, "s", grids, 30) == {"val": np.inf, "test": np.inf}
    assert least_gaps(split, "s", grids, 41)["val"] == pytest.approx(40, rel=2e-3)


@pytest.mark.parametrize("inner", ["trains", "held"])
def test_ground_inside_that_of_another_scene_is_at_no_distance(tmp_path: Path, inner: str) -> None:
    """One lies well within the other, half a pixel off, so that no boundaries come near each other."""
    grids = {"a": grid_of((60, 60)), "b": grid_of((60, 60), origin=(700_005.0, 9_309_995.0))}
    small = np.zeros((60, 60), bool)
    small[25:30, 25:30] = True
    whole = np.ones_like(small)
    trains, held = (small, whole) if inner == "trains" else (whole, small)
    folds = {"a": np.where(trains, 1, 255), "b": np.where(held, 254, 255)}
    split = split_of(tmp_path, folds, {"a": trains * 2, "b": 0 * held}, grids)
    assert least_gaps(split, "a", tuple(grids.items()), 50) == {"val": np.inf, "test": 0.0}
