"""The written split: equal to what its certificate counts, and refused where a part leaks into another."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import KDTree

from pipeline.errors import IntegrityError
from pipeline.geo.raster_io import describe, read, write
from pipeline.geo.vector_io import read_vectors
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits import buffer as buffer_module
from pipeline.splits import certificate as certificate_module
from pipeline.splits.certificate import write_split
from pipeline.splits.plan import Plan, plan_split
from pipeline.splits.sample import Sample, positions_m
from pipeline.splits.split import Part, Split
from pipeline.types import BoolArray
from tests.unit.splits.conftest import StoreMaker, grid_of

#: Blocks of 4 px leave no room for windows of 8.
pytestmark = pytest.mark.filterwarnings("ignore:spatial_split looks for the same picture:UserWarning")

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
    ground = np.asarray(split.ground_map("s") == 2)
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
    assert [str(n) for n in names] == ["blocks.gpkg", "certificate.json", "s/block.tif", "s/fold.tif", "s/ground.tif"]
    for name in names:
        assert (again / name).read_bytes() == (split.folder / name).read_bytes(), name


@pytest.mark.parametrize(("value", "message"), [
    (2, r"[1-9]\d* held-out pixels carry a train label, [1-9]\d* are visible to training and 0 places"),
    (1, r": 0 held-out pixels carry a train label, [1-9]\d* are visible")])
def test_held_out_ground_in_ground_tif_fails_the_stage(written: Written, tmp_path: Path, value: int, message: str,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan, _, _ = written

    def everything(split: Split, scene_id: str, grids: Any) -> None:
        grid = dict(grids)[scene_id]
        write(split.folder / scene_id / "ground.tif", np.full(grid.shape, value, np.uint8), grid, ["ground"])

    monkeypatch.setattr(certificate_module, "write_ground", everything)
    with pytest.raises(IntegrityError, match=message):
        write_split(tmp_path, store, plan, SETTINGS, 7)


def test_train_ground_within_the_buffer_fails_the_stage(written: Written, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan, _, _ = written
    narrow = certificate_module.write_ground
    monkeypatch.setattr(certificate_module, "write_ground",
                        lambda split, *rest: narrow(replace(split, buffer_m=0), *rest))
    with pytest.raises(IntegrityError, match=r"farther than spatial_split.buffer_m=11 from held-out ground: got 9.99"):
        write_split(tmp_path, store, plan, SETTINGS, 7)


def test_a_torn_place_fails_the_stage(written: Written, tmp_path: Path) -> None:
    store, plan, _, _ = written
    with pytest.raises(IntegrityError, match="0 are visible to training and 1 places lie in several parts"):
        write_split(tmp_path, store, replace(plan, place=np.zeros_like(plan.place)), SETTINGS, 7)


def test_each_fold_is_described_as_it_would_be_scored(written: Written) -> None:
    store, plan, split, certificate = written
    scene, fold = store.scenes[0], split.fold_map("s")
    by_fold = certificate["by_fold"]
    assert list(by_fold) == ["0", "1", "2", "test"]
    known = (scene.valid > 0) & (scene.labels != 255)
    for name, number in (("0", 0), ("1", 1), ("2", 2), ("test", 254)):
        mine = known & (fold == number)
        assert by_fold[name]["labelled_by_class"]["b"] == (scene.labels[mine] == 1).sum()
        assert by_fold[name]["labelled"] == mine.sum()
        assert by_fold[name]["blocks"] == (plan.fold_of_block == number).sum()
        assert by_fold[name]["too_little_of"] == []
    for part, name in (("val", "0"), ("test", "test")):
        for key in ("labelled", "prevalence", "blocks"):
            assert by_fold[name][key] == certificate["parts"][part][key]


def test_held_out_labels_and_pixels_leave_train_ground_as_it_is(make_store: StoreMaker, tmp_path: Path) -> None:
    """The same assignment over garbage in val and test writes the same ground, and the same train labels in it."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (16, 16)).astype(np.uint8)
    store = make_store({"s": labels})
    plan = plan_split(store, SETTINGS, 1)
    for name in ("clean", "garbage"):
        (tmp_path / name).mkdir()
    clean = write_split(tmp_path / "clean", store, plan, SETTINGS, 1)
    split = Split.open(tmp_path / "clean")
    held_out = np.asarray(split.ground_map("s")) == 0
    labels[held_out] = rng.integers(0, 2, int(held_out.sum()))
    garbage = write_split(tmp_path / "garbage", make_store({"s": labels}), plan, SETTINGS, 1)
    for file in ("fold.tif", "ground.tif", "block.tif"):
        assert (tmp_path / "clean/s" / file).read_bytes() == (tmp_path / "garbage/s" / file).read_bytes()
    assert clean["parts"]["train"]["labelled_by_class"] == garbage["parts"]["train"]["labelled_by_class"]
    assert clean["parts"]["val"]["labelled_by_class"] != garbage["parts"]["val"]["labelled_by_class"]


def test_dates_of_one_footprint_get_equal_maps(make_store: StoreMaker, tmp_path: Path) -> None:
    labels = np.random.default_rng(2).integers(0, 2, (16, 16)).astype(np.uint8)
    store = make_store({"t0": labels, "t1": labels})
    certificate = write_split(tmp_path, store, plan_split(store, SETTINGS, 1), SETTINGS, 1)
    split = Split.open(tmp_path)
    assert (split.fold_map("t0") == split.fold_map("t1")).all()
    assert (split.ground_map("t0") == split.ground_map("t1")).all()
    assert certificate["shared_places"] == [[i, i + 16] for i in range(1, 17)]
    assert split.place_of_block[20] == split.place_of_block[4] == 4
    assert (split.block_map("t0") != split.block_map("t1")).all()
    assert certificate["places"] == 16
    assert certificate["whole"]["blocks"] == 32
    frame = read_vectors(tmp_path / "blocks.gpkg", "blocks")
    assert frame.groupby("scene")["px_a"].sum().tolist() == [(labels == 0).sum()] * 2


def test_the_buffer_holds_between_all_pixels_of_all_scenes(make_store: StoreMaker, tmp_path: Path) -> None:
    """Two abutting tiles and one that overlaps the second with half a pixel's offset: distances of all pairs."""
    rng = np.random.default_rng(4)
    grids = {"a": grid_of((24, 24)), "b": grid_of((24, 24), origin=(700_240.0, 9_310_000.0)),
             "c": grid_of((24, 24), origin=(700_405.0, 9_309_965.0))}
    store = make_store({id_: rng.integers(0, 2, (24, 24)).astype(np.uint8) for id_ in grids}, grids=grids)
    settings = SETTINGS.model_copy(update={"block_size_m": 60.0, "buffer_m": 25.0})
    certificate = write_split(tmp_path, store, plan_split(store, settings, 3), settings, 3)
    split = Split.open(tmp_path)
    seams, whole, held = 0, {}, {}
    for id_, grid in grids.items():
        rows, cols = np.indices((24, 24))
        whole[id_] = positions_m([grid], Sample(np.zeros(576, np.intp), rows.ravel(), cols.ravel()))
        held[id_] = np.isin(split.fold_map(id_), (0, 254)).ravel()
    for id_ in grids:
        trains = np.asarray(split.ground_map(id_) == 2).ravel()
        assert trains.any()
        for other in grids:
            near, _ = KDTree(whole[other][held[other]]).query(whole[id_][trains])
            assert near.min() > 25
            lost = np.asarray(split.ground_map(id_) == 1).ravel()
            seams += id_ != other and (KDTree(whole[other][held[other]]).query(whole[id_][lost])[0] < 25).sum()
    assert seams > 20
    assert certificate["held_out_pixels_seen"] == 0
    assert certificate["least_distance_m"]["train_to_held_out"] > 25


def tall(make_store: StoreMaker) -> tuple[SceneStore, SplitParams]:
    """66 to 60 degrees north: pixels at the top are 19 % narrower than at the bottom."""
    grid = grid_of((120, 60), "EPSG:4326", 0.05, (10.0, 66.0))
    labels = np.random.default_rng(5).integers(0, 2, grid.shape).astype(np.uint8)
    settings = SETTINGS.model_copy(update={"block_size_m": 40_000.0, "buffer_m": 7_400.0})
    return make_store({"s": labels}, grids={"s": grid}), settings


def test_the_buffer_is_nowhere_narrower_than_declared(make_store: StoreMaker, tmp_path: Path) -> None:
    store, settings = tall(make_store)
    certificate = write_split(tmp_path, store, plan_split(store, settings, 2), settings, 2)
    split, grid = Split.open(tmp_path), store.scenes[0].grid

    def xyz(mask: BoolArray) -> Any:
        row, col = np.nonzero(mask)
        return positions_m([grid], Sample(np.zeros(len(row), np.intp), row, col))

    held = np.isin(split.fold_map("s"), (0, 254))
    least = KDTree(xyz(held)).query(xyz(np.asarray(split.ground_map("s") == 2)))[0].min()
    assert least > 7_400
    assert certificate["least_distance_m"]["train_to_held_out"] == pytest.approx(least, abs=0.01)


def test_a_buffer_counted_in_the_middle_pixel_fails_the_stage(make_store: StoreMaker, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    store, settings = tall(make_store)
    plan = plan_split(store, settings, 2)
    monkeypatch.setattr(buffer_module, "least_pixel_m", lambda grid: grid.ground_pixel_m)
    with pytest.raises(IntegrityError, match=r"than spatial_split.buffer_m=7400 from held-out ground: got 68\d+"):
        write_split(tmp_path, store, plan, settings, 2)


@pytest.mark.parametrize(("change", "message"), [
    ({"min_pixels": 80}, r"class [ab] must have at least 80 labelled pixels and 1 object\(s\) in \w+: the written"),
    ({"min_objects": 80}, r"class [ab] must have at least 3 labelled pixels and 80 object\(s\) in")])
def test_missing_support_in_the_files_fails_the_stage(written: Written, tmp_path: Path, change: dict[str, int],
                                                      message: str) -> None:
    store, plan, _, _ = written
    with pytest.raises(IntegrityError, match=message):
        write_split(tmp_path, store, plan, SETTINGS.model_copy(update=change), 7)
    flagged = replace(plan, unsupported=("a", "b"))
    assert write_split(tmp_path, store, flagged, SETTINGS.model_copy(update=change), 7)["unsupported"] == ["a", "b"]


def test_objects_are_counted_in_the_written_files(written: Written) -> None:
    store, _, split, certificate = written
    scene, ground, fold = store.scenes[0], np.asarray(split.ground_map("s")), np.asarray(split.fold_map("s"))
    for c, name in enumerate(("a", "b")):
        objects, count = ndimage.label((scene.labels == c) & (scene.valid > 0))
        found = {"train": 0, "val": 0, "test": 0}
        for i in range(1, count + 1):
            here = objects == i
            whole = [(here & np.isin(fold, f)).sum() for f in ((1, 2), (0,), (254,))]
            held = [(here & (ground == 2)).sum(), whole[1], whole[2]]
            for p, part in enumerate(found):
                found[part] += int(held[p] > 0 and (held[p] >= 3 or whole.index(max(whole)) == p))
        assert {part: certificate["parts"][part]["objects"][name] for part in found} == found


def test_blocks_gpkg_that_contradicts_the_maps_fails_the_stage(written: Written, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan, _, _ = written
    honest = certificate_module._block_frame

    def wrong(*args: Any) -> Any:
        frame = honest(*args)
        frame.loc[0, "fold"] = (frame.loc[0, "fold"] + 1) % 3
        return frame

    monkeypatch.setattr(certificate_module, "_block_frame", wrong)
    with pytest.raises(IntegrityError, match=r"list the blocks of block.tif with their folds in fold.tif"):
        write_split(tmp_path, store, plan, SETTINGS, 7)


def test_a_block_of_two_folds_fails_the_stage(written: Written, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan, _, _ = written
    honest = certificate_module._write_maps

    def torn(folder: Path, laid: Any, fold_of_id: Any) -> None:
        honest(folder, laid, fold_of_id)
        fold = read(folder / "fold.tif")
        fold[8, 8] = (fold[8, 8] + 1) % 3
        write(folder / "fold.tif", fold, laid.grid, ["fold"], nodata=255)

    monkeypatch.setattr(certificate_module, "_write_maps", torn)
    with pytest.raises(IntegrityError, match="of scene s must give every block one fold: 1 have several"):
        write_split(tmp_path, store, plan, SETTINGS, 7)


def test_a_part_of_another_size_than_asked_warns(make_store: StoreMaker, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(np.uint8)
    store, settings = make_store({"s": labels}), SETTINGS.model_copy(update={"test_fraction": 0.02})
    with pytest.warns(UserWarning, match=r"the test part should hold about 2% of the valid pixels: it holds 6%"):
        write_split(tmp_path, store, plan_split(store, settings, 1), settings, 1)
