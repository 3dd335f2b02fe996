"""Objects by hand: rows of small pictures in which every match can be counted on fingers."""

import numpy as np
import pytest

from pipeline.metrics.objects import match_objects


def picture(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


TRUTH = picture("##....##",
                "##....##",
                "........",
                "...#....",
                "....#...")
EVERYWHERE = np.ones(TRUTH.shape, dtype=bool)


def match(truth: np.ndarray, predicted: np.ndarray, part: np.ndarray | None = None,
          visible: np.ndarray | None = None, iou: float = 0.3) -> tuple[list[bool], int, int]:
    everywhere = np.ones(truth.shape, dtype=bool)
    result = match_objects(truth, predicted, everywhere if part is None else part,
                           everywhere if visible is None else visible, iou)
    return result.found_N.tolist(), result.predicted, result.false


def test_diagonal_neighbours_are_one_object_and_a_perfect_map_finds_all() -> None:
    assert match(TRUTH, TRUTH, iou=1.0) == ([True, True, True], 3, 0)


def test_iou_decides() -> None:
    # Left object: 2 of 4 pixels hit, none beyond, IoU 0.5. Right object: 1 hit, 1 beyond, IoU 1/5.
    predicted = picture("##....#.",
                        "........",
                        "........",
                        "........",
                        "........")
    predicted[0, 5] = True
    assert match(TRUTH, predicted, iou=0.5) == ([True, False, False], 2, 1)
    assert match(TRUTH, predicted, iou=0.2) == ([True, True, False], 2, 0)
    assert match(TRUTH, predicted, iou=0.51) == ([False, False, False], 2, 2)


def test_one_large_prediction_over_two_objects_finds_neither_and_is_false() -> None:
    predicted = np.zeros_like(TRUTH)
    predicted[:2] = True
    assert match(TRUTH, predicted, iou=0.3) == ([False, False, False], 1, 1)


def test_nothing_predicted_and_nothing_true() -> None:
    nothing = np.zeros_like(TRUTH)
    assert match(TRUTH, nothing) == ([False] * 3, 0, 0)
    assert match(nothing, TRUTH) == ([], 3, 3)
    assert match(nothing, nothing) == ([], 0, 0)


def test_an_object_counts_where_most_of_its_pixels_lie_and_is_judged_there_only() -> None:
    truth = picture("######")
    left = picture("####..")
    # In the left part 4 of 4 pixels are right; what is predicted on the right has no say.
    assert match(truth, picture("####.."), part=left, iou=1.0) == ([True], 1, 0)
    # In the right part the object does not count, but its prediction there is no false object.
    assert match(truth, picture("######"), part=~left, iou=1.0) == ([], 1, 0)
    # Exactly half in a part is not most of it.
    assert match(truth, truth, part=picture("###...")) == ([], 1, 0)


def test_truth_out_of_sight_cannot_change_anything() -> None:
    part, visible = picture("###....."), picture("#####...")
    seen = picture("..##....")
    unseen = picture("..######")
    assert match(seen, seen, part, visible) == match(unseen, seen, part, visible)


def test_a_block_edge_in_sight_does_not_cut_an_object_in_two() -> None:
    # A ring whose middle row lies in another part: one object, not two.
    truth = picture("####", "#..#", "####", "####")
    part = picture("####", "....", "####", "####")
    assert match(truth, truth, part) == ([True], 2, 0)
    assert match(truth, truth, part, visible=part)[0] == [True, True]


@pytest.mark.parametrize("swap", [False, True])
def test_merge_adds_up_scenes(swap: bool) -> None:
    one = match_objects(TRUTH, TRUTH, EVERYWHERE, EVERYWHERE, 0.3)
    other = match_objects(TRUTH, np.zeros_like(TRUTH), EVERYWHERE, EVERYWHERE, 0.3)
    both = other.merge(one) if swap else one.merge(other)
    assert sorted(both.found_N.tolist()) == [False] * 3 + [True] * 3
    assert (both.predicted, both.false) == (3, 0)
