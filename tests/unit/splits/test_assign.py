"""Draws of blocks: declared sizes, support of every class, and feasible ones all equally likely."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.splits.assign import draw, find_assignment, part_of_fold, support_rates
from pipeline.splits.support import Support
from pipeline.types import TEST_FOLD

SETTINGS = SplitParams(folds=2, test_fraction=0.25, min_pixels=10, attempts=200)


def support_of(pixels: list[list[int]], single: list[list[int]] | None = None) -> Support:
    """Blocks of one zone each, which no buffer reaches."""
    counts = np.array(pixels, dtype=np.int64)
    objects = np.array(single, dtype=np.int64) if single else (counts > 0).astype(np.int64)
    return zones_of(counts, np.zeros(len(counts)), objects)


def zones_of(counts: np.ndarray, mask: np.ndarray, single: np.ndarray, spread: csr_array | None = None) -> Support:
    """Blocks in a row, of one zone each, within reach of the neighbours whose bits `mask` holds (4: left, 8: right)."""
    blocks = len(counts)
    around = np.full((blocks, 8), blocks, dtype=np.int32)
    around[1:, 2], around[:-1, 3] = np.arange(blocks - 1), np.arange(1, blocks)
    held = csr_array((0, blocks)) if spread is None else spread
    return Support(np.arange(blocks), mask.astype(np.uint8), counts, around, single, held,
                   np.zeros(held.shape[0], np.intp))


def test_a_draw_has_the_declared_sizes() -> None:
    settings = SplitParams(folds=4, test_fraction=0.2)
    folds = draw(1, 0, 103, settings)
    sizes = {int(f): int(n) for f, n in zip(*np.unique(folds, return_counts=True), strict=True)}
    assert sizes == {0: 21, 1: 21, 2: 20, 3: 20, TEST_FOLD: 21}


def test_draws_depend_on_seed_and_attempt_only() -> None:
    settings = SplitParams()
    assert (draw(1, 7, 50, settings) == draw(1, 7, 50, settings)).all()
    assert (draw(1, 7, 50, settings) != draw(1, 8, 50, settings)).any()
    assert (draw(1, 7, 50, settings) != draw(2, 7, 50, settings)).any()


def test_the_test_part_gets_a_block_even_of_few() -> None:
    assert (draw(1, 0, 3, SplitParams(folds=2, test_fraction=0.01)) == TEST_FOLD).sum() == 1


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(SplitError, match=r"each of 5 folds: got 5 blocks of 640 m .*; lower spatial_"):
        draw(1, 0, 5, SplitParams())


def test_parts_follow_val_fold() -> None:
    assert part_of_fold(np.array([0, 1, 2, 254], dtype=np.uint8), 1).tolist() == [0, 1, 0, 2]


def test_the_assignment_supports_every_class() -> None:
    support = support_of([[20, 0]] * 9 + [[20, 10]] * 3)
    found = find_assignment(support, np.arange(12), SETTINGS, 4, np.array([True, True]))
    assert found is not None
    part = part_of_fold(found.fold_of_block, 0)
    assert sorted(part[9:].tolist()) == [0, 1, 2]  # each part needs one of the three blocks with class 1
    first = draw(4, found.attempts - 1, 12, SETTINGS)
    assert (first == found.fold_of_block).all()


def test_feasible_assignments_are_equally_likely() -> None:
    support = support_of([[20], [20], [20], [20]])
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(1200):
        found = find_assignment(support, np.arange(4), SETTINGS, seed, np.array([True]))
        assert found is not None
        key = tuple(found.fold_of_block.tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 12  # 4 places for test x 3 for the fold of one block
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 31.3  # chi-square, 11 d.f., p = 0.001


def test_no_assignment_is_none_and_rates_say_why() -> None:
    support = support_of([[20, 0]] * 9 + [[20, 5]] * 2 + [[20, 30]])
    assert find_assignment(support, np.arange(12), SETTINGS, 4, np.array([True, True])) is None
    assert find_assignment(support, np.arange(12), SETTINGS, 4, np.array([True, False])) is not None
    assert support_rates(support, np.arange(12), SETTINGS, 4).both.tolist() == [1.0, 0.0]


def test_objects_are_required_too() -> None:
    needy = SETTINGS.model_copy(update={"min_objects": 4})
    one, two = support_of([[20]] * 12), support_of([[20]] * 12, [[2]] * 12)
    assert find_assignment(one, np.arange(12), needy, 1, np.array([True])) is None  # test has 3 blocks
    assert find_assignment(two, np.arange(12), needy, 1, np.array([True])) is not None


def test_an_object_over_all_blocks_supports_every_part() -> None:
    counts = np.full((12, 1), 20, dtype=np.int64)
    spread = csr_array(counts.T.astype(float))
    support = zones_of(counts, np.zeros(12), np.zeros_like(counts), spread)
    assert find_assignment(support, np.arange(12), SETTINGS, 1, np.array([True])) is not None
    assert support_rates(support, np.arange(12), SETTINGS, 1).both.tolist() == [1.0]


def test_train_counts_what_the_buffer_of_this_draw_leaves() -> None:
    """Ten blocks in a row, each wholly within reach of its right neighbour: train keeps those before a train block."""
    counts = np.full((10, 1), 20, dtype=np.int64)
    support = zones_of(counts, np.full(10, 8), np.ones_like(counts))
    assert support.core.sum() == 0
    part = np.array([0, 0, 1, 0, 2, 2, 0, 0, 1, 0])
    assert support.train_pixels(part).tolist() == [3 * 20]  # blocks 1, 7 and the last, which has no right neighbour
    needy = SETTINGS.model_copy(update={"min_pixels": 40})
    found = find_assignment(support, np.arange(10), needy, 1, np.array([True]))
    assert found is not None
    assert support.train_pixels(part_of_fold(found.fold_of_block, 0))[0] >= 40
    rates = support_rates(support, np.arange(10), needy, 1)
    assert (rates.before[0], rates.after[0]) == (80, 80)
    assert 0 < rates.pixels[0] < support_rates(support.without_buffer(), np.arange(10), needy, 1).pixels[0]


def test_feasible_assignments_after_the_buffer_are_equally_likely() -> None:
    """Four blocks in a row, two train; the left of them keeps its pixels only if the right one is its neighbour."""
    counts = np.full((4, 1), 20, dtype=np.int64)
    support = zones_of(counts, np.full(4, 8), np.ones_like(counts))
    settings = SETTINGS.model_copy(update={"min_pixels": 20, "folds": 2})
    feasible = set()
    for attempt in range(300):
        fold = draw(0, attempt, 4, settings)
        if support.train_pixels(part_of_fold(fold, 0))[0] >= 20:
            feasible.add(tuple(fold.tolist()))
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(100 * len(feasible)):
        found = find_assignment(support, np.arange(4), settings, seed, np.array([True]))
        assert found is not None
        key = tuple(found.fold_of_block.tolist())
        seen[key] = seen.get(key, 0) + 1
    assert set(seen) == feasible
    assert len(feasible) == 3  # one block trains: only the last has no right neighbour; 3 ways for the others
    assert sum((n - 100) ** 2 / 100 for n in seen.values()) < 13.8  # chi-square, 2 d.f., p = 0.001


def test_train_objects_wholly_in_the_buffer_do_not_count() -> None:
    counts = np.full((3, 1), 20, dtype=np.int64)
    in_reach = csr_array(np.diag([20.0, 20.0, 20.0]))  # one object in each block, all within reach of the right one
    support = zones_of(counts, np.full(3, 8), np.zeros_like(counts), in_reach)
    assert support.objects_by_part(np.array([0, 1, 2]), 10).tolist() == [[0], [1], [1]]
    assert support.objects_by_part(np.array([1, 2, 0]), 10).tolist() == [[1], [1], [1]]
    assert support.without_buffer().objects_by_part(np.array([0, 1, 2]), 10).tolist() == [[1], [1], [1]]


def test_blocks_of_one_place_stay_together() -> None:
    place = np.repeat(np.arange(8), 2)
    found = find_assignment(support_of([[20]] * 16), place, SETTINGS, 1, np.array([True]))
    assert found is not None
    assert (found.fold_of_block[::2] == found.fold_of_block[1::2]).all()
    assert (found.fold_of_block == TEST_FOLD).sum() == 4
