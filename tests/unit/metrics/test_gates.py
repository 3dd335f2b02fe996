"""Gates: the limit that is worse for the rule decides, and what is not known holds nothing."""

import math

import numpy as np
import pytest

from pipeline.metrics.bootstrap import Estimate, Resamples, estimates, sample_scores
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.gates import judge, judge_all
from pipeline.params.targets import parse_target
from pipeline.seeding import generator


@pytest.mark.parametrize(("rule", "held"), [
    (">= 0.5", True), ("> 0.5", False), (">= 0.51", False), ("> 0.49", True),
    ("<= 0.7", True), ("< 0.7", False), ("<= 0.69", False), ("< 0.71", True)])
def test_the_worse_limit_decides(rule: str, held: bool) -> None:
    gate = judge(parse_target("mcc", rule), Estimate(0.6, 0.5, 0.7), 0.95)
    assert gate.held is held
    assert bool(gate.reason) is not held


def test_the_text_says_which_limit_counts() -> None:
    estimate = Estimate(0.6, 0.5, 0.7)
    assert judge(parse_target("mcc", ">= 0.5"), estimate, 0.95).text == "mcc >= 0.5 holds: 0.600 (0.500 to 0.700)"
    assert judge(parse_target("water.iou", ">= 0.55"), estimate, 0.95).text == (
        "water.iou >= 0.55 is missed: 0.600 (0.500 to 0.700), of which the lower limit counts")
    gate = judge(parse_target("objects.water.false", "< 0.7"), estimate, 0.95)
    assert gate.text.endswith("the upper limit counts")


def test_counts_are_shown_as_counts() -> None:
    gate = judge(parse_target("objects.lake.false", "<= 12"), Estimate(9, 3.5, 15), 0.95)
    assert gate.reason == "9 (3.5 to 15), of which the upper limit counts"


def test_a_limit_that_rounds_to_the_threshold_gets_more_decimals() -> None:
    gate = judge(parse_target("mcc", ">= 0.5"), Estimate(0.6, 0.49998, 0.7), 0.95)
    assert gate.reason == "0.60000 (0.49998 to 0.70000), of which the lower limit counts"


@pytest.mark.parametrize(("estimate", "reason"), [
    (Estimate(math.nan, math.nan, math.nan), "the score is undefined"),
    (Estimate(0.9, math.nan, math.nan), "the score has no interval")])
@pytest.mark.parametrize("rule", [">= 0.5", "<= 0.5"])
def test_what_is_not_known_holds_nothing(estimate: Estimate, reason: str, rule: str) -> None:
    gate = judge(parse_target("mcc", rule), estimate, 0.95)
    assert not gate.held
    assert gate.text.startswith(f"mcc {rule} is missed: {reason}")


def test_all_in_their_order() -> None:
    targets = [parse_target(name, ">= 0.5") for name in ("mcc", "kappa", "accuracy")]
    judged = judge_all(targets, lambda target: Estimate(0.9, 0.2 if target.name == "kappa" else 0.8, 1), 0.95)
    assert [(gate.target.name, gate.held) for gate in judged] == [("mcc", True), ("kappa", False), ("accuracy", True)]


@pytest.mark.parametrize(("defined", "confidence", "held"), [
    (1.0, 0.95, True), (0.975, 0.95, True), (0.974, 0.95, False), (0.974, 0.9, True), (0.0, 0.95, False)])
@pytest.mark.parametrize("rule", [">= 0.5", "<= 0.7"])
def test_a_score_must_be_defined_in_all_draws_but_those_of_one_tail(
    rule: str, defined: float, confidence: float, held: bool
) -> None:
    assert judge(parse_target("mcc", rule), Estimate(0.6, 0.5, 0.7, defined), confidence).held is held


def test_a_class_in_one_block_of_eight_holds_no_gate() -> None:
    """Each draw holds the block or not, so all that know the class give one value: an interval without width."""
    blocks = {i: Confusion(np.array([[99, 0], [0, 0]])) for i in range(2, 9)}
    blocks |= {1: Confusion(np.array([[90, 0], [4, 6]]))}
    drawn = Resamples.draw(sorted(blocks), 1000, 0.95, generator(1, "test"))
    found = estimates(sample_scores(blocks, ("land", "x"), drawn), drawn)["iou.x"]
    assert (found.value, found.low, found.high) == (0.6, 0.6, 0.6)
    assert found.defined == pytest.approx(1 - (7 / 8) ** 8, abs=0.05)  # 0.656
    share = f"{100 * (1 - found.defined):.3g} %"
    gate = judge(parse_target("x.iou", ">= 0.6"), found, 0.95)
    assert gate.text == (f"x.iou >= 0.6 is missed: 0.600 is undefined in {share} of the resamples, as too few blocks "
                         "have what it takes; a gate allows 2.5 %")


def test_draws_that_do_not_count_are_told_beside_a_gate_that_holds() -> None:
    gate = judge(parse_target("mcc", ">= 0.5"), Estimate(0.6, 0.5, 0.7, 0.99), 0.95)
    assert gate.text == "mcc >= 0.5 holds: 0.600 (0.500 to 0.700; undefined in 1 % of the resamples)"
