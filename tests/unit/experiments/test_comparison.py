"""Differences are those of counts by hand, on the same blocks with the same draws; what cannot be paired is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.experiments.comparison import Baseline, unpaired
from pipeline.experiments.results import read_result
from pipeline.metrics.spread import student_t
from pipeline.params.evaluate import BootstrapParams

PARAMS = BootstrapParams(resamples=200)
#: Ten pixels of each class in each of two blocks: 18 and 16 of 20 right.
BASE = {1: [[9, 1], [1, 9]], 2: [[8, 2], [2, 8]]}
#: One more right in each block.
BETTER = {1: [[10, 0], [1, 9]], 2: [[9, 1], [2, 8]]}
#: Two more right in one block, none in the other.
UNEVEN = {1: [[10, 0], [0, 10]], 2: [[8, 2], [2, 8]]}

Write = Callable[..., Path]


def test_a_gain_of_one_pixel_in_each_block_has_no_width(write_results: Write) -> None:
    baseline = Baseline(read_result(write_results("base", BASE)), PARAMS, 42)
    found = baseline.compare(read_result(write_results("other", BETTER)), ["accuracy", "recall.land"])
    accuracy = found["accuracy"]
    assert accuracy.value.value == pytest.approx(36 / 40)
    assert accuracy.difference is not None
    assert accuracy.difference.plain() == pytest.approx({"value": 2 / 40, "low": 1 / 20, "high": 1 / 20})
    assert accuracy.value.low < accuracy.value.high  # the score itself varies over blocks
    assert (accuracy.over_seeds, accuracy.by_seed, accuracy.over_folds) == (None, {}, None)


def test_an_uneven_gain_has_the_width_of_the_draws(write_results: Write) -> None:
    baseline = Baseline(read_result(write_results("base", BASE)), PARAMS, 42)
    other = read_result(write_results("other", UNEVEN))
    difference = baseline.compare(other, ["accuracy"])["accuracy"].difference
    # Of two blocks a resample has (2, 0), (1, 1) or (0, 2) of them: 0.1, 0.05 or 0.
    assert difference is not None
    assert difference.plain() == pytest.approx({"value": 0.05, "low": 0.0, "high": 0.1})
    assert baseline.compare(other, ["accuracy"])["accuracy"].difference == difference  # the same draws each time


def test_blocks_of_one_place_are_drawn_together(write_results: Write) -> None:
    shared = [[1, 2]]
    baseline = Baseline(read_result(write_results("base", BASE, shared=shared)), PARAMS, 42)
    found = baseline.compare(read_result(write_results("other", UNEVEN, shared=shared)), ["accuracy"])["accuracy"]
    assert found.difference is not None
    assert found.difference.value == pytest.approx(0.05)
    assert math.isnan(found.difference.low)  # one place, so no interval


def test_seeds_are_paired_by_seed(write_results: Write) -> None:
    facts = [(42, 0), (7, 0)]
    base = write_results("base", BASE, {0: BASE, 1: BETTER}, facts)
    other = write_results("other", BETTER, {0: UNEVEN, 1: UNEVEN}, facts)
    found = Baseline(read_result(base), PARAMS, 42).compare(read_result(other), ["accuracy"])["accuracy"]
    # 36/40 of UNEVEN minus 34/40 of BASE, and minus 36/40 of BETTER.
    assert found.by_seed == pytest.approx({42: 0.05, 7: 0.0})
    over = found.over_seeds
    assert over is not None
    assert (over.n, over.mean) == (2, pytest.approx(0.025))
    reach = student_t(0.95, 1) * 0.05 / math.sqrt(2) / math.sqrt(2)
    assert (over.low, over.high) == (pytest.approx(0.025 - reach), pytest.approx(0.025 + reach))


def test_folds_have_no_interval(write_results: Write) -> None:
    facts = [(42, 0), (42, 1)]
    base = write_results("base", BASE, {0: {1: BASE[1]}, 1: {2: BASE[2]}}, facts, out_of_fold=True)
    other = write_results("other", UNEVEN, {0: {1: UNEVEN[1]}, 1: {2: UNEVEN[2]}}, facts, out_of_fold=True)
    found = Baseline(read_result(base), PARAMS, 42).compare(read_result(other), ["accuracy"])["accuracy"]
    assert found.over_seeds is None
    assert found.by_fold == pytest.approx({0: 0.1, 1: 0.0})
    assert found.over_folds is not None
    assert found.over_folds.mean == pytest.approx(0.05)
    assert math.isnan(found.over_folds.low)


def test_out_of_fold_a_seed_is_its_whole_mosaic(write_results: Write) -> None:
    facts = [(42, 0), (42, 1), (7, 0), (7, 1)]

    def parts(first: dict[int, Any], second: dict[int, Any]) -> dict[int, Any]:
        return {0: {1: first[1]}, 1: {2: first[2]}, 2: {1: second[1]}, 3: {2: second[2]}}

    base = write_results("base", BASE, parts(BASE, BASE), facts, out_of_fold=True)
    other = write_results("other", UNEVEN, parts(UNEVEN, BETTER), facts, out_of_fold=True)
    found = Baseline(read_result(base), PARAMS, 42).compare(read_result(other), ["accuracy"])["accuracy"]
    assert found.by_seed == pytest.approx({42: 0.05, 7: 0.05})
    assert found.by_fold == pytest.approx({0: 0.1, 1: 0.0})


def test_objects_have_values_and_plain_differences(write_results: Write) -> None:
    baseline = Baseline(read_result(write_results("base", BASE, f1=0.5)), PARAMS, 42)
    metrics = ["objects.water.f1", "objects.water.found_share", "objects.water.precision"]
    found = baseline.compare(read_result(write_results("other", BETTER, f1=0.75)), metrics)
    difference = found["objects.water.f1"].difference
    assert difference is not None
    assert difference.value == pytest.approx(0.25)
    assert math.isnan(difference.low)
    assert (found["objects.water.found_share"].value.low, found["objects.water.found_share"].value.high) == (0.25, 0.75)
    assert math.isnan(found["objects.water.precision"].value.value)  # nothing predicted


@pytest.mark.parametrize(("other", "reason"), [
    ({"network": {1: BASE[1]}}, r"scored on other blocks \(1, 1 of them among the baseline's 2\): the split differs"),
    ({"network": {1: BASE[1], 2: [[9, 2], [2, 8]]}}, "the truth differs in 1 of 2 blocks"),
    ({"classes": ("land", "sea")}, r"its classes \['land', 'sea'\] are not"),
    ({"truth": "unrefined"}, "scored against unrefined, the baseline against reference"),
    ({"facts": [(43, 0)]}, "other seeds or folds"),
])
def test_what_cannot_be_paired_is_refused(write_results: Write, other: dict[str, Any], reason: str) -> None:
    import re

    baseline = read_result(write_results("base", BASE))
    assert unpaired(baseline, baseline) == ""
    found = unpaired(baseline, read_result(write_results("other", **{"network": BETTER, **other})))
    assert re.search(reason, found), found


def test_folds_dealt_otherwise_are_refused(write_results: Write) -> None:
    facts = [(42, 0), (42, 1)]
    base = write_results("base", BASE, {0: {1: BASE[1]}, 1: {2: BASE[2]}}, facts, out_of_fold=True)
    other = write_results("other", BASE, {0: {2: BASE[2]}, 1: {1: BASE[1]}}, facts, out_of_fold=True)
    assert "held out other blocks" in unpaired(read_result(base), read_result(other))


def test_missing_results_are_told(tmp_path: Path, write_results: Write) -> None:
    with pytest.raises(IntegrityError, match="must hold the results of a variant"):
        read_result(tmp_path)
    folder = write_results("base", {})
    with pytest.raises(IntegrityError, match="must have counts of the network: got none"):
        read_result(folder)
