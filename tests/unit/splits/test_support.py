"""Pixels and objects that support a class in a part, by hand, over block borders and scenes."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.splits import blocks as blocks_module
from pipeline.splits.assign import part_of_fold
from pipeline.splits.blocks import lay_blocks
from pipeline.splits.buffer import write_ground
from pipeline.splits.plan import look_up_table
from pipeline.splits.split import Split
from pipeline.splits.support import Support, count_support
from pipeline.types import Window
from tests.unit.splits.conftest import StoreMaker, grid_of

PLAIN = look_up_table((0, 1))

LABELS = np.array([
    [0, 0, 0, 1],
    [0, 255, 1, 1],
    [0, 1, 255, 0],
    [1, 0, 0, 0],
], dtype=np.uint8)  # blocks of 2 px: 1 2 / 3 4


def support_of(make_store: StoreMaker, labels: np.ndarray = LABELS, buffer_m: float = 0,
               **kwargs: object) -> Support:
    store = make_store({"s": labels}, **kwargs)
    return count_support(store, lay_blocks(store, 20), PLAIN, 2, buffer_m)


def test_pixels_by_block_and_class(make_store: StoreMaker) -> None:
    assert support_of(make_store).pixels.tolist() == [[3, 0], [1, 3], [2, 2], [3, 0]]


def test_invalid_pixels_do_not_count(make_store: StoreMaker) -> None:
    valid = np.ones((4, 4), np.uint8)
    valid[0, :3] = 0
    assert support_of(make_store, valid={"s": valid}).pixels.tolist() == [[1, 0], [0, 3], [2, 2], [3, 0]]


def test_objects_are_4_connected_over_block_borders(make_store: StoreMaker) -> None:
    support = support_of(make_store)
    # class 0: the upper left one (5 px in blocks 1, 2, 3), the lower right one (4 px in blocks 3, 4);
    # class 1: one of 3 px in block 2, and two diagonal neighbours in block 3, which are two objects.
    assert support.objects.tolist() == [2, 3]
    assert support.single.tolist() == [[0, 0], [0, 1], [0, 2], [0, 0]]
    assert sorted(support.spread.toarray().tolist()) == [[0, 0, 1, 3], [3, 1, 1, 0]]
    assert support.spread_class.tolist() == [0, 0]


@pytest.mark.parametrize("band_pixels", [4, 8, 12])
def test_bands_do_not_change_the_counts(make_store: StoreMaker, monkeypatch: pytest.MonkeyPatch,
                                        band_pixels: int) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (40, 4)).astype(np.uint8)
    labels[labels == 2] = 255
    whole = support_of(make_store, labels)
    monkeypatch.setattr(blocks_module, "BAND_PIXELS", band_pixels)
    banded = support_of(make_store, labels)
    assert (whole.pixels == banded.pixels).all()
    assert (whole.single == banded.single).all()
    assert sorted(whole.spread.toarray().tolist()) == sorted(banded.spread.toarray().tolist())


def test_an_object_counts_for_the_part_that_holds_most_of_it(make_store: StoreMaker) -> None:
    support = support_of(make_store)
    part = np.array([0, 1, 2, 2])  # the upper left object: 3 px train, 1 val, 1 test; the other: 4 px test
    assert support.objects_by_part(part, min_pixels=200).tolist() == [[1, 0], [0, 1], [1, 2]]


def test_an_object_counts_for_every_part_with_min_pixels_of_it(make_store: StoreMaker) -> None:
    support = support_of(make_store)
    part = np.array([0, 1, 2, 2])
    assert support.objects_by_part(part, min_pixels=1).tolist() == [[1, 0], [1, 1], [2, 2]]


def test_core_leaves_out_what_a_buffer_may_take(make_store: StoreMaker) -> None:
    support = support_of(make_store, buffer_m=10.5)  # 10 m pixels: leaves the scene's corners
    assert support.core.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]


def test_core_leaves_out_what_the_buffer_of_an_abutting_scene_may_take(make_store: StoreMaker) -> None:
    """Dates of one footprint show nothing beyond its edges; a tile to the east does."""
    labels = np.zeros((4, 4), np.uint8)
    east = grid_of((4, 4), origin=(700_040.0, 9_310_000.0))

    def core(grids: dict[str, Grid]) -> list[list[int]]:
        store = make_store({"s": labels, "t": labels}, grids=grids)
        counted = count_support(store, lay_blocks(store, 20), PLAIN, 1, 10.5).core[:4]
        return counted.tolist()

    assert core({}) == [[1]] * 4
    assert core({"t": grid_of((4, 4), origin=(700_400.0, 9_310_000.0))}) == [[1]] * 4  # far off
    assert core({"t": east}) == [[0]] * 4  # blocks of 2 px: no pixel is 10.5 m from both sides


@pytest.mark.parametrize("buffer_m", [10.5, 15.0, 22.0, 29.0])
@pytest.mark.parametrize("shift", [0, 1])
def test_what_a_buffer_leaves_is_what_ground_tif_will_hold(make_store: StoreMaker, tmp_path: Path, buffer_m: float,
                                                           shift: int) -> None:
    """Counts by zones against the written buffer, pixel for pixel, over random assignments with nodata and edges."""
    rng = np.random.default_rng(int(buffer_m))
    labels = rng.integers(0, 2, (40, 33)).astype(np.uint8)
    valid = np.ones_like(labels)
    valid[6:14, 6:18] = 0
    store = make_store({"s": labels}, valid={"s": valid},
                       grids={"s": grid_of((40, 33), origin=(700_000.0 + 10 * shift, 9_310_000.0))})
    blocks = lay_blocks(store, 60)
    support = count_support(store, blocks, PLAIN, 2, buffer_m)
    grids = (("s", store.scenes[0].grid),)
    for _ in range(5):
        fold = rng.choice([0, 1, 2, 254], blocks.count).astype(np.uint8)
        of_id = np.concatenate([np.array([255], np.uint8), fold])
        maps = of_id[blocks["s"].ids_in(Window(0, 0, 40, 33))]
        write(tmp_path / "s/fold.tif", maps, store.scenes[0].grid, ["fold"], nodata=255)
        split = Split(tmp_path, 3, 0, buffer_m, ("a", "b"), PLAIN, ())
        write_ground(split, "s", grids)
        left = (np.asarray(split.ground_map("s")) == 2) & (valid > 0)
        expected = np.bincount(labels[left], minlength=2)
        assert support.train_pixels(part_of_fold(fold, 0)).tolist() == expected.tolist()


def test_next_to_another_scene_train_is_never_promised_more_than_it_gets(make_store: StoreMaker,
                                                                         tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    grids = {"a": grid_of((36, 36)), "b": grid_of((36, 36), origin=(700_184.0, 9_309_903.0)),
             "c": grid_of((18, 18), pixel=20.0, origin=(699_700.0, 9_310_000.0))}
    store = make_store({i: rng.integers(0, 2, g.shape).astype(np.uint8) for i, g in grids.items()}, grids=grids)
    blocks = lay_blocks(store, 90)
    place = blocks.places()
    support = count_support(store, blocks, PLAIN, 2, 12.0)
    for _ in range(6):
        fold = rng.choice([0, 1, 1, 2, 254], place.max() + 1).astype(np.uint8)[place]
        of_id = np.concatenate([np.array([255], np.uint8), fold])
        split = Split(tmp_path, 3, 0, 12.0, ("a", "b"), PLAIN, ())
        for laid in blocks.scenes:
            maps = of_id[laid.ids_in(Window(0, 0, *laid.grid.shape))]
            write(tmp_path / laid.scene_id / "fold.tif", maps, laid.grid, ["fold"], nodata=255)
        got = np.zeros(2, dtype=np.int64)
        for scene in store:
            write_ground(split, scene.id, tuple(grids.items()))
            got += np.bincount(scene.labels[split.ground_map(scene.id) == 2], minlength=2)
        assert (support.train_pixels(part_of_fold(fold, 0)) <= got).all()


def test_objects_wholly_in_the_buffer_support_no_part(make_store: StoreMaker) -> None:
    """Two blocks of 4 px side by side; an object of two pixels at their border, one on the border, one far from it."""
    labels = np.full((4, 8), 255, np.uint8)
    labels[0, 0] = labels[0, 3] = labels[2, 3:5] = 1
    grid = grid_of((4, 8), origin=(700_000.0, 9_310_000.0))
    store = make_store({"s": labels}, grids={"s": grid})
    support = count_support(store, lay_blocks(store, 40), PLAIN, 2, 15)
    assert support.objects.tolist() == [0, 3]
    assert support.objects_by_part(np.array([0, 1]), 200).tolist() == [[0, 1], [0, 0], [0, 0]]  # of equals the first
    assert support.objects_by_part(np.array([0, 1]), 1).tolist() == [[0, 1], [0, 1], [0, 0]]
    assert support.objects_by_part(np.array([0, 0]), 1).tolist() == [[0, 3], [0, 0], [0, 0]]


def test_merging_joins_objects(make_store: StoreMaker) -> None:
    store = make_store({"s": LABELS})
    support = count_support(store, lay_blocks(store, 20), look_up_table((0, 0)), 1, 0)
    assert support.pixels[:, 0].tolist() == [3, 4, 4, 3]
    assert support.objects.tolist() == [1]


def test_objects_do_not_cross_scenes(make_store: StoreMaker) -> None:
    ones = np.ones((2, 2), np.uint8)
    store = make_store({"s": ones, "t": ones})
    assert count_support(store, lay_blocks(store, 20), PLAIN, 2, 0).objects.tolist() == [0, 2]


def test_ground_in_several_scenes_counts_once(make_store: StoreMaker) -> None:
    valid = np.ones((4, 4), np.uint8)
    valid[:2, :2] = 0
    valid[0, 0] = 1  # date t0 sees one pixel of block 1: there t1 counts, elsewhere the first
    store = make_store({"t0": LABELS, "t1": LABELS}, valid={"t0": valid})
    blocks = lay_blocks(store, 20)
    once = count_support(store, blocks, PLAIN, 2, 0).once(blocks.places(), blocks.scene_of_block)
    assert once.pixels.tolist() == [[0, 0], [1, 3], [2, 2], [3, 0], [3, 0], [0, 0], [0, 0], [0, 0]]
    # t0 sees the upper left object in three pieces: the one in block 1 does not count
    assert once.single.sum(axis=0).tolist() == [2, 3]
    assert sorted(once.spread.sum(axis=1).tolist()) == [3, 4]  # its part in t1; the lower right one


def test_one_scene_is_counted_once_already(make_store: StoreMaker) -> None:
    support = support_of(make_store)
    once = support.once(np.arange(4), np.zeros(4, dtype=np.intp))
    assert (once.pixels == support.pixels).all()
    assert (once.spread != support.spread).nnz == 0


def test_labels_may_be_empty(make_store: StoreMaker) -> None:
    support = support_of(make_store, np.full((4, 4), 255, np.uint8))
    assert support.pixels.sum() == 0
    assert support.objects.tolist() == [0, 0]
