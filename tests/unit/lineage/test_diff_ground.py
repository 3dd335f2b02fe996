"""Scores of two results are paired by the ground that both were scored on, whatever their members."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.lineage.diff_scores import SCORED, ScoreDifference, compare_scores

PARAMS = {"seed": 42, "evaluate": {"bootstrap": {"resamples": 200, "confidence": 0.9}}}
#: Ten pixels of each class in each of two blocks: 17 of 20 right of each class, then 19 and 17.
COUNTS = {1: [[9, 1], [1, 9]], 2: [[8, 2], [2, 8]]}
BETTER = {1: [[10, 0], [1, 9]], 2: [[9, 1], [2, 8]]}
OBJECTS = {"water": {"network": {"found_share": {"value": 0.5, "low": 0.2, "high": 0.8}, "precision": 0.4,
                                 "f1": None}}}


def scored(folder: Path, counts: Mapping[int, list[list[int]]], members: list[tuple[int, int]],
           out_of_fold: bool = False) -> dict[str, Path]:
    """What evaluate leaves of members by seed and fold; with several, each has held out one of the blocks."""
    folder.mkdir()
    ways: list[tuple[str, int, Mapping[int, Any]]] = [("network", -1, counts)]
    ways += [("member", number, {block: counts[block]}) for number, block in enumerate(counts) if out_of_fold]
    rows = [("val", "reference", method, number, "s", block, i, j, matrix[i][j]) for method, number, blocks in ways
            for block, matrix in blocks.items() for i in range(2) for j in range(2) if matrix[i][j]]
    columns = ["part", "truth", "method", "member", "scene", "block", "true", "predicted", "count"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "confusions.parquet", index=False)
    (folder / "metrics.json").write_text(json.dumps({
        "classes": ["town", "water"], "headline": "reference", "out_of_fold": out_of_fold, "objects": OBJECTS,
        "members": [{"number": i, "seed": seed, "fold": fold} for i, (seed, fold) in enumerate(members)]}))
    (folder / "certificate.json").write_text(json.dumps({"shared_places": []}))
    return {name: folder / name for name in SCORED}


def difference(first: dict[str, Path], second: dict[str, Path]) -> ScoreDifference:
    return compare_scores(first, second, PARAMS, PARAMS)


@pytest.mark.parametrize(("members", "out_of_fold"), [
    ([(43, 0)], False), ([(42, 1)], False), ([(42, 0), (43, 0)], False), ([(42, 0), (42, 1)], True)])
def test_other_seeds_and_folds_are_paired_on_the_same_ground(tmp_path: Path, members: list[tuple[int, int]],
                                                             out_of_fold: bool) -> None:
    first = scored(tmp_path / "a", COUNTS, [(42, 0)])
    found = difference(first, scored(tmp_path / "b", BETTER, members, out_of_fold))
    assert found.unpaired == ""
    town = found.scores["iou.town"].difference
    assert town is not None
    assert town.value == pytest.approx(2 / 23)  # 19 / 23 - 17 / 23
    assert 0 < town.low <= town.high
    share = found.scores["objects.water.found_share"].difference
    assert share is not None
    assert share.value == 0.0
    same = difference(first, scored(tmp_path / "c", BETTER, [(42, 0)]))
    assert same.scores["iou.town"] == found.scores["iou.town"]


def test_other_truth_is_not_paired_and_told_of_b(tmp_path: Path) -> None:
    found = difference(scored(tmp_path / "a", COUNTS, [(42, 0)]),
                       scored(tmp_path / "b", {**COUNTS, 2: [[7, 2], [2, 8]]}, [(43, 0)]))
    assert found.unpaired == "the truth differs in 1 of 2 blocks: labels, pixels or the split differ"
    assert {pair.difference for pair in found.scores.values()} == {None}
