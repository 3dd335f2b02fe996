"""Two versions beside each other: paired on the ground that both were scored on, and only where it is the same."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.lineage.promote_text import show_pair
from pipeline.lineage.standing_pair import Pair, Row, side_by_side
from pipeline.metrics.confusion import Confusion
from tests.unit.lineage.standings import NAME, standing

OURS = {1: (10, 8), 2: (9, 9)}
THEIRS = {1: (8, 6), 2: (7, 7)}


def row(pair: Pair, name: str) -> Row:
    (found,) = [row for row in pair.rows if row.name == name]
    return found


def test_differences_are_of_the_same_blocks() -> None:
    pair = side_by_side(standing(2, OURS, 0.8, {"accuracy": ">= 0.5"}), standing(1, THEIRS, 0.6))
    assert (pair.unpaired, pair.blocks) == ("", 2)
    assert [row.name for row in pair.rows] == ["mcc", "macro_iou", "rock.iou", "lake.iou", "objects.lake.found_share",
                                              "objects.lake.f1", "accuracy"]
    accuracy = row(pair, "accuracy")
    assert accuracy.candidate.value == 0.8  # metrics.json has its own scores
    assert accuracy.champion is not None
    assert accuracy.champion.value == 0.6
    # 36 of 40 pixels against 28: by block 18 - 14 and 18 - 14 of 20, so every resample gives a fifth.
    assert accuracy.difference is not None
    assert (accuracy.difference.value, accuracy.difference.low, accuracy.difference.high) == pytest.approx((0.2,) * 3)
    lake = row(pair, "lake.iou")
    assert lake.difference is not None
    # Lake: 17 right, 3 missed, 1 called wrongly; 13 right, 7 missed, 5 called wrongly.
    assert lake.difference.value == pytest.approx(17 / 21 - 13 / 25)
    assert lake.difference.low < lake.difference.value < lake.difference.high
    assert row(pair, "objects.lake.f1").difference is None


def test_only_common_blocks_are_compared() -> None:
    pair = side_by_side(standing(2, {**OURS, 3: (0, 0)}), standing(1, {**THEIRS, 4: (0, 0)}))
    assert (pair.unpaired, pair.blocks) == ("", 2)
    mcc = row(pair, "mcc").difference
    assert mcc is not None
    assert mcc == row(side_by_side(standing(2, OURS), standing(1, THEIRS)), "mcc").difference


def test_blocks_that_show_one_ground_are_one_place() -> None:
    one_place = {1: 1, 2: 1}
    pair = side_by_side(standing(2, OURS, place_of_block=one_place), standing(1, THEIRS, place_of_block=one_place))
    mcc = row(pair, "mcc").difference
    assert mcc is not None
    assert mcc.value > 0
    assert np.isnan(mcc.low)


@pytest.mark.parametrize(("changes", "why"), [
    ({"split": "other"}, "the two were made on different splits"),
    ({"classes": ("rock", "ice")}, r"its classes \['rock', 'lake'\] are not version 1's \['rock', 'ice'\]"),
    ({"truth": "refined"}, "version 2 against version 1: it is scored against reference, version 1 against refined"),
    ({"network": {5: Confusion(np.eye(2, dtype=int))}}, "no common block"),
    ({"network": {1: Confusion(np.eye(2, dtype=int)), 2: Confusion(np.eye(2, dtype=int) * 10)}},
     "the truth differs in 1 of 2 blocks"),
])
def test_what_is_not_the_same_ground_has_no_differences(changes: dict[str, Any], why: str) -> None:
    pair = side_by_side(standing(2, OURS), standing(1, THEIRS, **changes))
    assert re.search(why, pair.unpaired)
    assert all(row.difference is None for row in pair.rows)
    assert row(pair, "mcc").champion is not None


def test_without_counts_the_scores_stay() -> None:
    champion = replace(standing(1, THEIRS, 0.6), result=None)
    pair = side_by_side(standing(2, OURS), champion)
    assert pair.unpaired == "the counts by block of version 1 were not found"
    assert row(pair, "mcc").champion is not None
    bare = side_by_side(standing(2, OURS), replace(champion, metrics=None))
    assert row(bare, "mcc").champion is None
    ours = side_by_side(replace(standing(2, OURS), result=None), standing(1, THEIRS))
    assert ours.unpaired == "the counts by block of version 2 were not found"


def test_without_a_champion_there_is_one_column() -> None:
    pair = side_by_side(standing(2, OURS), None)
    assert (pair.unpaired, pair.blocks) == ("", 0)
    assert all(row.champion is None and row.difference is None for row in pair.rows)


def shown(*args: Any) -> str:
    lines: list[str] = []
    show_pair(*args, lines.append)
    return "\n".join(lines)


def test_the_table_says_what_is_beside_what() -> None:
    ours, theirs = standing(2, OURS, 0.8), standing(1, THEIRS, 0.6)
    text = shown(ours, theirs, side_by_side(ours, theirs))
    assert f"{NAME} on val against reference" in text
    assert "0.800 [0.700, 0.900]" in text
    assert "0.600 [0.500, 0.700]" in text
    assert "differences: version 2 minus 1 on the 2 blocks that both were scored on" in text
    assert "version 2: val helped to choose the epoch" in text
    apart = standing(1, THEIRS, 0.6, split="other")
    assert "no differences: the two were made on different splits" in shown(ours, apart, side_by_side(ours, apart))
    alone = shown(ours, None, side_by_side(ours, None))
    assert "difference" not in alone
    assert "0.800 [0.700, 0.900]" in alone
