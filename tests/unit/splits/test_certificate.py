import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import IntegrityError
from pipeline.geo.raster_io import describe, read
from pipeline.geo.vector_io import read_vectors
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits import certificate as certificate_module
from pipeline.splits.buffer import train_ground
from pipeline.splits.certificate import write_split
from pipeline.splits.plan import Plan, plan_split
from pipeline.splits.split import Part, Split
from pipeline.types import BoolArray
from tests.unit.splits.conftest import StoreMaker

SETTINGS = SplitParams(block_size_m=40, folds=3, test_fraction=0.25, min_pixels=3, buffer_m=11, attempts=100)


@pytest.fixture
def written(make_store: StoreMaker, tmp_path: Path) -> tuple[SceneStore, Plan, Split, dict[str, Any]]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (22, 17)).astype(np.uint8)
    labels[:3] = 255
    valid = np.ones(labels.shape, np.uint8)
    valid[:4, :4] = 0  # one block without data
    valid[10, 5:9] = 0
    store = make_store({"s": labels}, valid={"s": valid})
    plan = plan_split(store, SETTINGS, 7)
    folder = tmp_path / "data/splits"
    folder.mkdir(parents=True)
    certificate = write_split(folder, store, plan, SETTINGS, 7)
    return store, plan, Split.open(folder), certificate


Written = tuple[SceneStore, Plan, Split, dict[str, Any]]


def test_parts_are_disjoint_and_cover_every_block(written: Written) -> None:
    store, _, split, _ = written
    fold, block = split.fold_map("s"), split.block_map("s")
    masks = np.stack([split.mask(fold, p) for p in ("train", "val", "test")])
    assert (masks.sum(axis=0) == (block > 0)).all()
    assert ((fold == 255) == (block == 0)).all()
    assert (block[:4, :4] == 0).all()
    assert (block[store.scenes[0].valid > 0] > 0).all()


def test_a_block_has_one_fold_and_folds_are_equal(written: Written) -> None:
    _, plan, split, _ = written
    fold, block = np.asarray(split.fold_map("s")), np.asarray(split.block_map("s"))
    pairs = np.unique(np.stack([block[block > 0], fold[block > 0]]), axis=1)
    assert pairs[0].tolist() == list(range(1, plan.blocks.count + 1))  # 6 x 5 - 1
    assert [(pairs[1] == f).sum() for f in (0, 1, 2, 254)] == [8, 7, 7, 7]


def test_maps_are_memory_mapped_tiffs_on_the_scene_grid(written: Written) -> None:
    store, _, split, _ = written
    info = describe(split.folder / "s/fold.tif")
    assert (info.dtype, info.nodata, info.bands) == ("uint8", 255, ("fold",))
    assert info.grid.transform == store.scenes[0].grid.transform
    assert info.grid.crs_name == "EPSG:32748"
    assert describe(split.folder / "s/block.tif").dtype == "int32"
    assert split.fold_map("s").dtype == np.uint8
    assert (read(split.folder / "s/block.tif") == split.block_map("s")).all()


def test_the_certificate_counts_what_the_maps_say(written: Written) -> None:
    store, _, split, certificate = written
    scene, fold = store.scenes[0], split.fold_map("s")
    known = (scene.valid > 0) & (scene.labels != 255)
    ground = train_ground(split, "s", scene.grid)
    masks: dict[Part, BoolArray] = {"train": ground, "val": split.mask(fold, "val"),
                                    "test": split.mask(fold, "test")}
    for part, mask in masks.items():
        said = certificate["parts"][part]
        assert said["labelled"] == (mask & known).sum()
        assert said["labelled_by_class"]["b"] == (mask & (scene.labels == 1) & known).sum() >= 3
        assert said["prevalence"]["b"] == pytest.approx(scene.labels[mask & known].mean(), abs=1e-6)
        assert said["pixels"] == (split.mask(fold, part) & (scene.valid > 0)).sum()
    assert certificate["whole"]["labelled"] == known.sum()
    assert certificate["whole"]["blocks"] == sum(p["blocks"] for p in certificate["parts"].values()) == 29
    lost = (split.mask(fold, "train") & ~ground & known).sum()
    assert certificate["train_pixels_lost_to_buffer"] == lost > 0


def test_the_certificate_certifies(written: Written) -> None:
    _, _, split, certificate = written
    assert certificate["held_out_pixels_with_train_label"] == 0
    least = certificate["least_distance_m"]
    assert least["train_to_held_out"] == pytest.approx(14.14, rel=2e-3)  # one pixel diagonally
    assert least["train_to_test"] >= least["train_to_held_out"]
    assert json.loads((split.folder / "certificate.json").read_text()) == certificate
    assert (split.folds, split.val_fold, split.buffer_m, split.classes) == (3, 0, 11.0, ("a", "b"))
    assert certificate["block_px"] == {"s": [4, 4]}


def test_blocks_gpkg_names_part_and_content(written: Written) -> None:
    _, plan, split, certificate = written
    frame = read_vectors(split.folder / "blocks.gpkg", "blocks")
    assert frame["block"].tolist() == list(range(1, plan.blocks.count + 1))
    assert frame["part"].value_counts()["test"] == certificate["parts"]["test"]["blocks"]
    assert frame["px_b"].sum() == certificate["whole"]["labelled_by_class"]["b"]
    assert frame.crs.to_epsg() == 32748


def test_equal_input_gives_equal_bytes(written: Written, tmp_path: Path) -> None:
    store, _, split, _ = written
    again = tmp_path / "again"
    again.mkdir()
    write_split(again, store, plan_split(store, SETTINGS, 7), SETTINGS, 7)
    names = sorted(p.relative_to(again) for p in again.rglob("*.*"))
    assert [str(n) for n in names] == ["blocks.gpkg", "certificate.json", "s/block.tif", "s/fold.tif"]
    for name in names:
        assert (again / name).read_bytes() == (split.folder / name).read_bytes(), name


def test_a_leak_fails_the_stage(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan, _, _ = written
    monkeypatch.setattr(certificate_module, "train_ground", lambda split, *_: split.fold_map("s") != 255)
    with pytest.raises(IntegrityError, match=r"\d+ held-out pixels carry a train label and 0 places"):
        write_split(tmp_path, store, plan, SETTINGS, 7)


def test_a_torn_place_fails_the_stage(written: Written, tmp_path: Path) -> None:
    store, plan, _, _ = written
    with pytest.raises(IntegrityError, match="0 held-out pixels carry a train label and 1 places"):
        write_split(tmp_path, store, replace(plan, place=np.zeros_like(plan.place)), SETTINGS, 7)


def test_dates_of_one_footprint_get_equal_maps(make_store: StoreMaker, tmp_path: Path) -> None:
    labels = np.random.default_rng(2).integers(0, 2, (16, 16)).astype(np.uint8)
    store = make_store({"t0": labels, "t1": labels})
    certificate = write_split(tmp_path, store, plan_split(store, SETTINGS, 1), SETTINGS, 1)
    split = Split.open(tmp_path)
    assert (split.fold_map("t0") == split.fold_map("t1")).all()
    assert (split.block_map("t0") != split.block_map("t1")).all()
    assert certificate["places"] == 16
    assert certificate["whole"]["blocks"] == 32
    frame = read_vectors(tmp_path / "blocks.gpkg", "blocks")
    assert frame.groupby("scene")["px_a"].sum().tolist() == [(labels == 0).sum()] * 2
