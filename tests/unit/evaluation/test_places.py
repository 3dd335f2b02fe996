"""Blocks of one place (dates of one ground) are resampled together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.summary import summarise
from pipeline.evaluation.tally import Tally
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.objects import ObjectMatch
from pipeline.params.evaluate import BootstrapParams

PARAMS = BootstrapParams(resamples=200)


def blocks(first: int, factor: int = 1) -> dict[int, Confusion]:
    rng = np.random.default_rng(0)
    return {first + i: Confusion(factor * rng.integers(1, 50, (2, 2))) for i in range(6)}


def tally_of(counts: dict[int, Confusion], place_of_block: Mapping[int, int]) -> Tally:
    zones = {block: np.pad(c.matrix, ((0, 254), (0, 0))) for block, c in counts.items()}
    return Tally(("a", "b"), "refined", {}, 0.5, place_of_block, {"refined": {("network", 0): counts}},
                 {("network", 0): zones})


def test_counts_of_a_place_are_added() -> None:
    tally = tally_of(blocks(1) | blocks(11), {b + 10: b for b in range(1, 7)})
    places = tally.places(blocks(1) | blocks(11) | {30: Confusion(np.eye(2, dtype=np.int64))})
    assert list(places) == [1, 2, 3, 4, 5, 6, 30]
    assert (places[3].matrix == 2 * blocks(1)[3].matrix).all()


def test_two_equal_dates_have_the_interval_of_one() -> None:
    """As independent blocks they would pretend to know more."""
    one = summarise(tally_of(blocks(1, 2), {}), "val", PARAMS, 1, {1: "zone"})
    two = summarise(tally_of(blocks(1) | blocks(11), {b + 10: b for b in range(1, 7)}), "val", PARAMS, 1, {1: "zone"})
    apart = summarise(tally_of(blocks(1) | blocks(11), {}), "val", PARAMS, 1, {1: "zone"})
    for key in ("truths", "zones"):
        shown = {**one[key].get("refined", {}), **one[key].get("network", {})}
        again = {**two[key].get("refined", {}), **two[key].get("network", {})}
        shown.pop("blocks", None)
        assert (again.pop("blocks", 12), again) == (12, shown)
    accuracies = [s["truths"]["refined"]["network"]["accuracy"] for s in (two, apart)]
    width = [accuracy["high"] - accuracy["low"] for accuracy in accuracies]
    assert width[1] < 0.9 * width[0]
    assert (two["truths"]["refined"]["places"], apart["truths"]["refined"]["places"]) == (6, 12)


def objects_of(dates: int, place_of_block: Mapping[int, int]) -> dict[str, Any]:
    """60 objects in as many blocks, seen on some dates: the network finds about 60 %, the baseline about 40 %."""
    rng = np.random.default_rng(3)
    found = {("network", 0): rng.random(60) < 0.6, ("majority", 0): rng.random(60) < 0.4}
    block = np.concatenate([np.arange(1, 61) + 100 * date for date in range(dates)])
    tally = Tally(("a", "b"), "refined", {"b": 1}, 0.5, place_of_block)
    tally.matches["b"] = {m: ObjectMatch(np.tile(f, dates), block, np.tile(~f, dates), block) for m, f in found.items()}
    objects: dict[str, Any] = summarise(tally, "val", BootstrapParams(resamples=1000), 1, {})["objects"]["b"]
    return objects


def test_objects_on_several_dates_have_the_interval_of_one_date() -> None:
    one = objects_of(1, {})
    five = objects_of(5, {b + 100 * date: b for b in range(1, 61) for date in range(5)})
    apart = objects_of(5, {})
    assert (five["network"]["truth"], five["network"]["places"], apart["network"]["places"]) == (300, 60, 300)
    for score in ("found_share", "found_share_difference_to_majority"):
        expected = one["network"][score]
        assert five["network"][score] == pytest.approx(expected)
        assert expected["low"] < expected["value"] < expected["high"]
        narrow = apart["network"][score]
        assert narrow["high"] - narrow["low"] < 0.6 * (expected["high"] - expected["low"])
    for score in ("precision", "f1"):
        expected = one["network"]["intervals"][score]
        assert five["network"]["intervals"][score] == pytest.approx(expected)
        assert expected["low"] < expected["value"] < expected["high"]
        assert five["network"][score] == pytest.approx(expected["value"])
        paired = five["network"]["difference_to_majority"][score]
        assert paired["value"] == pytest.approx(five["network"][score] - five["majority"][score])
        assert paired["low"] < paired["value"] < paired["high"]


def test_false_objects_where_nothing_is_widen_the_interval_of_precision() -> None:
    """Ten places with an object each, all found; ten more without, in one of which nine false objects are seen."""
    block, empty = np.arange(1, 11), np.full(9, 20)
    match = ObjectMatch(np.ones(10, bool), block, np.repeat([False, True], [10, 9]), np.concatenate([block, empty]))
    tally = Tally(("a", "b"), "refined", {"b": 1}, 0.5, {}, confusions={"refined": {("network", 0): blocks(1)}})
    tally.matches["b"] = {("network", 0): match}
    found = summarise(tally, "val", BootstrapParams(resamples=1000), 1, {})["objects"]["b"]["network"]
    assert (found["precision"], found["false"], found["found_share"]["low"]) == (pytest.approx(10 / 19), 9, 1)
    interval = found["intervals"]
    assert interval["precision"]["low"] < 0.4 < 1.0 == interval["precision"]["high"]
    assert interval["false"] == {"value": 9, "low": 0, "high": pytest.approx(27, abs=9)}
    assert interval["f1"]["value"] == pytest.approx(2 * 10 / 19 / (1 + 10 / 19))
