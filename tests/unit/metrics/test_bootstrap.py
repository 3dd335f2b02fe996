"""Resampling: exact sums, paired differences, coverage on data whose truth is known."""

import math

import numpy as np
import pytest

from pipeline.metrics.bootstrap import Estimate, Resamples, differences, estimates, sample_scores, share
from pipeline.metrics.confusion import Confusion, merge_all
from pipeline.metrics.scores import flat_scores
from pipeline.seeding import generator


def blocks_of(seed: int, n: int = 12, k: int = 3) -> dict[int, Confusion]:
    rng = np.random.default_rng(seed)
    return {10 * i: Confusion(rng.integers(1, 30, (k, k)) + 40 * np.eye(k, dtype=int)) for i in range(1, n + 1)}


def resamples(blocks: dict[int, Confusion], n: int = 200, seed: int = 1) -> Resamples:
    return Resamples.draw(sorted(blocks), n, 0.95, generator(seed, "test"))


def test_each_resample_draws_as_many_blocks_as_there_are() -> None:
    drawn = resamples(blocks_of(0))
    assert drawn.weights_RB.shape == (200, 12)
    assert (drawn.weights_RB.sum(axis=1) == 12).all()
    assert (drawn.weights_RB >= 0).all()


def test_a_resample_is_the_score_of_its_blocks_merged_one_by_one() -> None:
    blocks = blocks_of(0)
    drawn = resamples(blocks, 5)
    sampled = sample_scores(blocks, "abc", drawn)
    for r in range(5):
        chosen = [blocks[b] for b, times in zip(drawn.blocks, drawn.weights_RB[r], strict=True)
                  for _ in range(int(times))]
        expected = flat_scores(merge_all(chosen, 3).matrix, "abc")
        assert all(sampled.draws[name][r] == pytest.approx(float(v)) for name, v in expected.items())


def test_point_values_are_those_of_all_pixels_and_lie_in_their_intervals() -> None:
    blocks = blocks_of(3)
    drawn = resamples(blocks)
    result = estimates(sample_scores(blocks, "abc", drawn), drawn)
    assert result["mcc"].value == float(flat_scores(merge_all(blocks.values(), 3).matrix, "abc")["mcc"])
    assert all(e.low <= e.value <= e.high for e in result.values())
    assert result["mcc"].low < result["mcc"].high


def test_identical_methods_differ_by_exactly_zero() -> None:
    blocks = blocks_of(4)
    drawn = resamples(blocks)
    sampled = sample_scores(blocks, "abc", drawn)
    again = sample_scores(dict(blocks), "abc", drawn)
    assert all((e.value, e.low, e.high) == (0, 0, 0) for e in differences(sampled, again, drawn).values())


def test_pairing_narrows_the_difference_of_methods_that_fail_on_the_same_blocks() -> None:
    rng = np.random.default_rng(0)
    hits = rng.integers(20, 100, 30)
    first = {i + 1: Confusion(np.array([[h, 100 - h], [100 - h, h]])) for i, h in enumerate(hits)}
    second = {i + 1: Confusion(np.array([[h - 5, 105 - h], [105 - h, h - 5]])) for i, h in enumerate(hits)}
    drawn = resamples(first)
    a, b = sample_scores(first, "ab", drawn), sample_scores(second, "ab", drawn)
    paired, alone = differences(a, b, drawn)["accuracy"], estimates(a, drawn)["accuracy"]
    assert paired.value == pytest.approx(0.05)
    assert paired.high - paired.low < 0.01 < alone.high - alone.low


def test_equal_seeds_give_equal_intervals_and_other_seeds_do_not() -> None:
    blocks = blocks_of(5)
    results = []
    for seed in (1, 1, 2):
        drawn = resamples(blocks, seed=seed)
        results.append(estimates(sample_scores(blocks, "abc", drawn), drawn)["mcc"])
    assert results[0] == results[1] != results[2]


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(6)
    drawn = resamples(blocks)
    whole = sample_scores(blocks, "abc", drawn)
    monkeypatch.setattr("pipeline.metrics.bootstrap._CHUNK", 9 * 7)
    parts = sample_scores(blocks, "abc", drawn)
    assert all(np.array_equal(whole.draws[n], parts.draws[n], equal_nan=True) for n in whole.draws)


def test_a_block_missing_from_one_method_counts_nothing() -> None:
    blocks = blocks_of(7)
    drawn = resamples(blocks)
    fewer = {b: c for b, c in blocks.items() if b != 10}
    empty = {**fewer, 10: Confusion.empty(3)}
    one, other = (sample_scores(b, "abc", drawn).draws["mcc"] for b in (fewer, empty))
    assert np.array_equal(one, other)


def test_one_block_has_no_interval() -> None:
    blocks = blocks_of(0, n=1)
    drawn = resamples(blocks)
    result = estimates(sample_scores(blocks, "abc", drawn), drawn)["mcc"]
    assert not math.isnan(result.value)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_undefined_scores_have_no_interval_and_undefined_resamples_are_left_out() -> None:
    majority = {i: Confusion(np.array([[9, 0], [1, 0]])) for i in range(1, 6)}
    drawn = resamples(majority)
    result = estimates(sample_scores(majority, "ab", drawn), drawn)
    assert all(math.isnan(v) for v in (result["mcc"].value, result["mcc"].low, result["mcc"].high))
    assert result["accuracy"].low == pytest.approx(0.9)
    rare = {1: Confusion(np.array([[9, 0], [0, 5]])), **{i: Confusion(np.array([[9, 0], [0, 0]])) for i in range(2, 6)}}
    drawn = resamples(rare)
    found = estimates(sample_scores(rare, "ab", drawn), drawn)
    assert found["recall.b"].low == 1
    first_R = drawn.weights_RB[:, 0]
    assert found["recall.b"].defined == (first_R > 0).mean() < 0.8
    assert found["accuracy"].defined == 1


def test_as_plain_data_and_back() -> None:
    whole, part = Estimate(0.5, 0.25, 0.75), Estimate(0.5, 0.25, 0.75, 0.9)
    assert whole.plain() == {"value": 0.5, "low": 0.25, "high": 0.75}
    assert part.plain() == {"value": 0.5, "low": 0.25, "high": 0.75, "defined": 0.9}
    assert (Estimate.of(whole.plain()), Estimate.of(part.plain())) == (whole, part)
    unknown = Estimate(math.nan, math.nan, math.nan)
    assert unknown.plain() == {"value": None, "low": None, "high": None}
    assert all(math.isnan(number) for number in (Estimate.of({}).value, Estimate.of(unknown.plain()).low))
    assert (whole.gap, part.gap) == ("", "undefined in 10 % of the resamples")
    assert Estimate(0.5, math.nan, math.nan, 0.0).gap == "undefined in 100 % of the resamples"


def test_intervals_cover_the_true_value_about_as_often_as_they_say() -> None:
    """40 blocks, each with its own accuracy around 0.7: the interval must hold 0.7 in about 95 of 100 worlds."""
    inside = 0
    for world in range(100):
        rng = np.random.default_rng(world)
        accuracy = np.clip(rng.normal(0.7, 0.1, 40), 0, 1)
        hits = rng.binomial(200, accuracy)
        blocks = {i + 1: Confusion(np.array([[h, 200 - h], [0, 0]])) for i, h in enumerate(hits)}
        drawn = resamples(blocks, 300, seed=world)
        found = estimates(sample_scores(blocks, "ab", drawn), drawn)["accuracy"]
        inside += found.low <= 0.7 <= found.high
    assert 86 <= inside <= 100


def test_share_of_objects() -> None:
    hits = np.array([True] * 6 + [False] * 4)
    result = share(hits, np.arange(10), 2000, 0.95, generator(0, "objects"))
    assert result.value == pytest.approx(0.6)
    assert result.low == pytest.approx(0.3)
    assert result.high == pytest.approx(0.9)
    nothing = share(np.zeros(10, dtype=np.int64), np.arange(10), 100, 0.95, generator(0, "objects"))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    assert math.isnan(share(np.zeros(0), np.zeros(0), 100, 0.95, generator(0, "objects")).value)


@pytest.mark.parametrize("dates", [1, 2, 5])
def test_an_object_on_several_dates_is_one_draw(dates: int) -> None:
    hits = generator(3, "hits").random(60) < 0.6
    once = share(hits, np.arange(60), 2000, 0.95, generator(0, "objects"))
    often = share(np.tile(hits, dates), np.tile(np.arange(60), dates), 2000, 0.95, generator(0, "objects"))
    assert often.plain() == pytest.approx(once.plain())


def test_objects_of_one_place_have_no_interval() -> None:
    result = share(np.array([1, 0, 1, 1]), np.full(4, 8), 100, 0.95, generator(0, "objects"))
    assert result.value == 0.75
    assert math.isnan(result.low)
    # A resample's share is over the objects drawn: 3 of 3, 0 of 1 or, with both places, 3 of 4.
    uneven = share(np.array([1, 1, 1, 0]), np.array([2, 2, 2, 5]), 500, 0.95, generator(0, "objects"))
    assert uneven == Estimate(0.75, 0, 1)
