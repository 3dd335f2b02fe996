"""Counting: what enters a matrix, merging, and blocks."""

import dataclasses

import numpy as np
import pytest

from pipeline.errors import IntegrityError
from pipeline.metrics.confusion import Confusion, merge_all, merge_blocks, per_block


def random_maps(seed: int, shape: tuple[int, ...] = (20, 30), k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k + 1, shape).astype(np.uint8)
    truth[truth == k] = 255
    return truth, rng.integers(0, k, shape).astype(np.uint8)


def test_counts_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 255, 2]], dtype=np.uint8)
    predicted = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)
    assert Confusion.of(truth, predicted, 3).matrix.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_ignore_is_never_counted_on_either_side() -> None:
    truth = np.array([255, 0, 1], dtype=np.uint8)
    predicted = np.array([0, 255, 1], dtype=np.uint8)
    counted = Confusion.of(truth, predicted, 2)
    assert counted.pixels == 1
    assert counted.matrix[1, 1] == 1


def test_no_pixels_give_the_empty_matrix() -> None:
    nothing = np.zeros((0,), dtype=np.uint8)
    assert Confusion.of(nothing, nothing, 3) == Confusion.empty(3)
    assert per_block(nothing, nothing, nothing.astype(np.int32), 3) == {}


def test_merge_is_associative_commutative_and_has_a_neutral_element() -> None:
    a, b, c = (Confusion.of(*random_maps(seed), 4) for seed in range(3))
    assert (a + b) + c == a + (b + c) == merge_all([c, b, a], 4)
    assert a.merge(b) == b.merge(a)
    assert a + Confusion.empty(4) == a


def test_counting_pieces_equals_counting_the_whole() -> None:
    truth, predicted = random_maps(5)
    pieces = [Confusion.of(truth[i:i + 7], predicted[i:i + 7], 4) for i in range(0, 20, 7)]
    assert merge_all(pieces, 4) == Confusion.of(truth, predicted, 4)


def test_is_frozen_and_int64_and_does_not_share_its_input() -> None:
    source = np.ones((2, 2), dtype=np.int32)
    confusion = Confusion(source)
    source[0, 0] = 9
    assert confusion.matrix.dtype == np.int64
    assert confusion.pixels == 4
    with pytest.raises(ValueError, match="read-only"):
        confusion.matrix[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        confusion.matrix = source  # type: ignore[misc]


def test_blocks_partition_the_pixels_and_block_0_is_none() -> None:
    truth, predicted = random_maps(1)
    block = np.kron(np.array([[0, 7, 3]]), np.ones((20, 10))).astype(np.int32)
    blocks = per_block(truth, predicted, block, 4)
    assert list(blocks) == [3, 7]
    for name in (3, 7):
        inside = block == name
        assert blocks[name] == Confusion.of(truth[inside], predicted[inside], 4)


def test_a_block_without_counted_pixels_does_not_appear() -> None:
    truth = np.array([[255, 1]], dtype=np.uint8)
    assert list(per_block(truth, np.zeros_like(truth), np.array([[1, 2]]), 2)) == [2]


def test_merging_blocks_of_two_row_bands_equals_the_whole() -> None:
    truth, predicted = random_maps(2)
    block = np.repeat(np.arange(1, 5), 150).reshape(20, 30).astype(np.int32)
    halves = [per_block(truth[s], predicted[s], block[s], 4) for s in (slice(0, 8), slice(8, 20))]
    assert merge_blocks(*halves) == per_block(truth, predicted, block, 4)


@pytest.mark.parametrize(("truth", "predicted", "subject"), [([3], [0], "truth"), ([0], [254], "prediction"),
                                                             ([-1], [0], "truth")])
def test_unknown_class_ids_are_errors(truth: list[int], predicted: list[int], subject: str) -> None:
    with pytest.raises(IntegrityError, match=f"class ids of the {subject} must be below 3"):
        Confusion.of(np.array(truth), np.array(predicted), 3)


def test_other_refusals() -> None:
    with pytest.raises(IntegrityError, match="one grid"):
        Confusion.of(np.zeros((2, 2)), np.zeros((2, 3)), 2)
    with pytest.raises(IntegrityError, match="one class list: got 2 and 3"):
        Confusion.empty(2).merge(Confusion.empty(3))
    with pytest.raises(IntegrityError, match="square"):
        Confusion(np.zeros((2, 3), dtype=np.int64))
