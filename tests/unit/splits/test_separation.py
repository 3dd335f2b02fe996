"""Distances to train ground against brute force; Wasserstein by hand; the quick model scores val only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.geo.raster_io import write
from pipeline.scenes.store import SceneStore
from pipeline.splits import separation as module
from pipeline.splits.buffer import write_ground
from pipeline.splits.plan import look_up_table
from pipeline.splits.separation import Separation, measure_separation, wasserstein
from pipeline.splits.split import Split
from pipeline.splits.tally import grids_of
from tests.unit.splits.conftest import StoreMaker

SIDE = 48


def split_of(folder: Path, store: SceneStore, folds: dict[str, np.ndarray], buffer_m: float = 0) -> Split:
    split = Split(folder, 3, 0, buffer_m, ("a", "b"), look_up_table((0, 1)), ())
    for scene in store:
        write(folder / scene.id / "fold.tif", folds[scene.id], scene.grid, ["fold"], nodata=255)
    for scene in store:
        write_ground(split, scene.id, grids_of(store))
    return split


@pytest.fixture
def quarters(make_store: StoreMaker, tmp_path: Path) -> tuple[SceneStore, Split]:
    """Quarters of a scene: train, val / test, train; a stripe has no label, a corner no data."""
    labels = np.random.default_rng(0).integers(0, 2, (SIDE, SIDE)).astype(np.uint8)
    labels[:, 10:14] = 255
    valid = np.ones_like(labels)
    valid[-5:, -5:] = 0
    store = make_store({"s": labels}, valid={"s": valid})
    fold = np.kron(np.array([[1, 0], [254, 2]]), np.ones((SIDE // 2, SIDE // 2))).astype(np.uint8)
    return store, split_of(tmp_path / "split", store, {"s": fold}, 25)


def brute_force(store: SceneStore, split: Split, mask: np.ndarray) -> np.ndarray:
    scene = store.scenes[0]
    trains = np.argwhere((split.ground_map("s") == 2) & (scene.labels != 255) & (scene.valid > 0))
    pixel = np.array(scene.grid.ground_pixel_m[::-1])
    apart = (np.argwhere(mask)[:, None] - trains) * pixel
    return np.sort(np.hypot(apart[..., 0], apart[..., 1]).min(axis=1))


def test_distances_are_those_of_all_pairs(quarters: tuple[SceneStore, Split]) -> None:
    store, split = quarters
    scene, fold = store.scenes[0], np.asarray(quarters[1].fold_map("s"))
    known = (scene.labels != 255) & (scene.valid > 0)
    found = measure_separation(split, store, 1)
    assert found.cell_m == pytest.approx(10, rel=5e-3)
    for values, mask in ((found.map_m, scene.valid > 0), (found.val_m, known & (fold == 0)),
                         (found.test_m, known & (fold == 254))):
        assert values == pytest.approx(brute_force(store, split, mask), rel=2e-3, abs=1e-3)
    assert found.val_m.min() > 25  # the buffer
    assert (found.map_m == 0).sum() == len(np.argwhere((split.ground_map("s") == 2) & known))


def test_cells_bound_the_tree_and_their_side_the_error(quarters: tuple[SceneStore, Split],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    store, split = quarters
    exact = measure_separation(split, store, 1)
    monkeypatch.setattr(module, "_CELLS", SIDE * SIDE // 16)
    coarse = measure_separation(split, store, 1)
    assert coarse.cell_m == pytest.approx(40, rel=5e-3)
    assert np.abs(coarse.val_m - exact.val_m).max() <= 40


def test_ground_of_another_scene_is_near_too(make_store: StoreMaker, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(np.uint8)
    store = make_store({"t0": labels, "t1": labels})
    folds = {"t0": np.full((16, 16), 0, np.uint8), "t1": np.full((16, 16), 0, np.uint8)}
    folds["t0"][:, :8] = folds["t1"][:, :8] = 1
    found = measure_separation(split_of(tmp_path / "split", store, folds), store, 1)
    assert found.val_m.max() == pytest.approx(80, rel=5e-3)
    assert len(found.test_m) == 0
    assert "test_to_train_m" not in found.to_dict()["quantiles"]


def test_scores_are_of_val_by_distance(quarters: tuple[SceneStore, Split]) -> None:
    """The image gives the class away: all is right, at every distance."""
    store, split = quarters
    found = measure_separation(split, store, 1)
    assert sum(s.pixels for s in found.scores) == len(found.val_m)
    assert [s.low_m for s in found.scores[1:]] == [s.high_m for s in found.scores[:-1]]
    assert all((s.accuracy, s.mcc) == pytest.approx((1, 1)) for s in found.scores)


def test_test_labels_have_no_say_in_the_scores(quarters: tuple[SceneStore, Split]) -> None:
    store, split = quarters
    before = measure_separation(split, store, 1).scores
    scene = store.scenes[0]
    labels = np.array(scene.labels)
    held = np.asarray(split.fold_map("s")) == 254
    labels[held & (labels != 255)] ^= 1
    write(scene.folder / "labels.tif", labels, scene.grid, ["label"], nodata=255)
    assert measure_separation(split, SceneStore.open(scene.folder.parent), 1).scores == before


def test_one_class_on_train_ground_gives_no_scores(make_store: StoreMaker, tmp_path: Path) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[:, 8:] = 1
    fold = np.where(labels == 1, 0, 1).astype(np.uint8)
    store = make_store({"s": labels})
    assert measure_separation(split_of(tmp_path / "split", store, {"s": fold}), store, 1).scores == ()


def test_wasserstein_is_the_area_between_cumulative_curves() -> None:
    assert wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 2
    assert wasserstein(np.array([5.0]), np.array([5.0, 5.0])) == 0
    assert wasserstein(np.array([0.0, 0.0, 0.0, 4.0]), np.array([0.0])) == 1
    rng = np.random.default_rng(0)
    one, other = rng.random(50), rng.random(50) * 3
    assert wasserstein(one, other) == pytest.approx(np.abs(np.sort(one) - np.sort(other)).mean())


def test_the_certificate_has_plain_numbers() -> None:
    found = Separation(np.array([0.0, 0.0, 10.0]), np.array([10.0]), np.array([20.0]), 1.0,
                       (module.ScoreAt(10, 10, 1, 1.0, float("nan")),))
    data: dict[str, Any] = found.to_dict()
    assert data["wasserstein_m"] == {"val_against_map": 6.67, "test_against_map": 16.67}
    assert data["quick_model_on_val"] == [{"low_m": 10, "high_m": 10, "pixels": 1, "accuracy": 1.0, "mcc": None}]
    assert len(data["quantiles"]["map_to_train_m"]) == 101
