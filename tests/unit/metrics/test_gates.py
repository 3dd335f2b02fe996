"""Gates: the limit that is worse for the rule decides, and what is not known holds nothing."""

import math

import pytest

from pipeline.metrics.bootstrap import Estimate
from pipeline.metrics.gates import judge, judge_all
from pipeline.params.targets import parse_target


@pytest.mark.parametrize(("rule", "held"), [
    (">= 0.5", True), ("> 0.5", False), (">= 0.51", False), ("> 0.49", True),
    ("<= 0.7", True), ("< 0.7", False), ("<= 0.69", False), ("< 0.71", True)])
def test_the_worse_limit_decides(rule: str, held: bool) -> None:
    gate = judge(parse_target("mcc", rule), Estimate(0.6, 0.5, 0.7))
    assert gate.held is held
    assert bool(gate.reason) is not held


def test_the_text_says_which_limit_counts() -> None:
    estimate = Estimate(0.6, 0.5, 0.7)
    assert judge(parse_target("mcc", ">= 0.5"), estimate).text == "mcc >= 0.5 holds: 0.600 (0.500 to 0.700)"
    assert judge(parse_target("water.iou", ">= 0.55"), estimate).text == (
        "water.iou >= 0.55 is missed: 0.600 (0.500 to 0.700), of which the lower limit counts")
    assert judge(parse_target("objects.water.false", "< 0.7"), estimate).text.endswith("the upper limit counts")


def test_counts_are_shown_as_counts() -> None:
    gate = judge(parse_target("objects.lake.false", "<= 12"), Estimate(9, 3.5, 15))
    assert gate.reason == "9 (3.5 to 15), of which the upper limit counts"


def test_a_limit_that_rounds_to_the_threshold_gets_more_decimals() -> None:
    gate = judge(parse_target("mcc", ">= 0.5"), Estimate(0.6, 0.49998, 0.7))
    assert gate.reason == "0.60000 (0.49998 to 0.70000), of which the lower limit counts"


@pytest.mark.parametrize(("estimate", "reason"), [
    (Estimate(math.nan, math.nan, math.nan), "the score is undefined"),
    (Estimate(0.9, math.nan, math.nan), "the score has no interval")])
@pytest.mark.parametrize("rule", [">= 0.5", "<= 0.5"])
def test_what_is_not_known_holds_nothing(estimate: Estimate, reason: str, rule: str) -> None:
    gate = judge(parse_target("mcc", rule), estimate)
    assert not gate.held
    assert gate.text.startswith(f"mcc {rule} is missed: {reason}")


def test_all_in_their_order() -> None:
    targets = [parse_target(name, ">= 0.5") for name in ("mcc", "kappa", "accuracy")]
    judged = judge_all(targets, lambda target: Estimate(0.9, 0.2 if target.name == "kappa" else 0.8, 1))
    assert [(gate.target.name, gate.held) for gate in judged] == [("mcc", True), ("kappa", False), ("accuracy", True)]
