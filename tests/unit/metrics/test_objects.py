"""Objects by hand: rows of small pictures in which every match can be counted on fingers."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.metrics.objects import ObjectMatch, ObjectMatcher


def picture(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def match_objects(truth: np.ndarray, predicted: np.ndarray, part: np.ndarray, visible: np.ndarray, iou: float,
                  rows: int = 100, block: np.ndarray | None = None) -> ObjectMatch:
    matcher = ObjectMatcher(iou)
    block = np.ones(truth.shape, dtype=np.int32) if block is None else block
    for row in range(0, len(truth), rows):
        matcher.add(*(array[row:row + rows] for array in (truth, predicted, part, visible, block)))
    return matcher.result()


TRUTH = picture("##....##",
                "##....##",
                "........",
                "...#....",
                "....#...")
EVERYWHERE = np.ones(TRUTH.shape, dtype=bool)


def match(truth: np.ndarray, predicted: np.ndarray, part: np.ndarray | None = None,
          visible: np.ndarray | None = None, iou: float = 0.3) -> tuple[list[bool], int, int]:
    everywhere = np.ones(truth.shape, dtype=bool)
    arrays = (truth, predicted, everywhere if part is None else part, everywhere if visible is None else visible)
    result = match_objects(*arrays, iou)
    for rows in (1, 2):
        banded = match_objects(*arrays, iou, rows)
        assert banded.found_N.tolist() == result.found_N.tolist()
        assert (banded.predicted, banded.false) == (result.predicted, result.false)
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


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_an_object_lies_in_the_block_with_most_of_its_pixels_in_the_part(rows: int) -> None:
    truth = picture("###..###",
                    "###..#..",
                    "........",
                    "...##...",
                    "...##...")
    block = np.array([[1, 1, 2, 2, 2, 2, 7, 7]] + [[3, 3, 3, 2, 2, 2, 7, 7]] + 3 * [[5, 5, 5, 9, 4, 4, 4, 4]])
    # Left: 2 px in block 1, 1 in 2, 3 in 3. Right: 2 in 2 and 2 in 7, of equals the lower. Below: 2 in 9 and 2 in 4.
    found = match_objects(truth, truth, np.ones_like(truth), np.ones_like(truth), 0.3, rows, block)
    assert found.block_N.tolist() == [3, 2, 4]
    part = np.ones_like(truth)
    part[1, 2] = part[3, 4] = False  # out of the part: 2, 1, 2 px of the left one, 2 in 9 and 1 in 4 of the lower one
    found = match_objects(truth, truth, part, np.ones_like(truth), 0.3, rows, block)
    assert found.block_N.tolist() == [1, 2, 9]
    assert found.merge(found).block_N.tolist() == [1, 2, 9, 1, 2, 9]


@pytest.mark.parametrize("seed", range(4))
def test_bands_match_what_labels_of_the_whole_match(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = ndimage.gaussian_filter(rng.random((2, 61, 47)), (0, 1.2, 1.2)) > 0.5
    visible = rng.random((61, 47)) < 0.95
    part = visible & (np.arange(47) < 30)
    eight = np.ones((3, 3))
    true_ids, true_n = ndimage.label(truth & visible, eight)
    called, called_n = ndimage.label(predicted & part, eight)
    found, hit = [], set()
    for number in range(1, true_n + 1):
        own = true_ids == number
        overlaps = {c for c in range(1, called_n + 1)
                    if ((own & part) & (called == c)).sum() >= 0.3 * ((own & part) | (called == c)).sum() > 0
                    and (own & (called == c)).any()}
        hit |= overlaps
        if 2 * (own & part).sum() > own.sum():
            found.append(bool(overlaps))
    assert true_n > 5
    for rows in (1, 3, 16, 61):
        result = match_objects(truth, predicted, part, visible, 0.3, rows)
        assert result.found_N.tolist() == found
        assert (result.predicted, result.false) == (called_n, called_n - len(hit))


def test_a_predicted_object_has_a_flag_and_a_block_of_its_own() -> None:
    truth = picture("##......", "##......")
    predicted = picture("##...###", "##...#..")
    block = np.array([[1, 1, 1, 1, 2, 2, 3, 3]] * 2)
    for rows in (1, 2):
        found = match_objects(truth, predicted, np.ones_like(truth), np.ones_like(truth), 0.5, rows, block)
        assert found.false_M.tolist() == [False, True]
        assert found.predicted_block_M.tolist() == [1, 2]  # two pixels in 2 and two in 3: of equals the lower
        assert found.merge(found).predicted_block_M.tolist() == [1, 2, 1, 2]
