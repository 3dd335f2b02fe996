"""evaluate.targets: which scores and rules are taken, in both spellings, and the sentence for each that is not."""

import warnings
from typing import Any

import pytest

from pipeline.errors import ParamsError
from pipeline.metrics import scores
from pipeline.params.evaluate import EvaluateParams
from pipeline.params.load import parse
from pipeline.params.targets import SCORES, parse_target, parse_targets
from pipeline.params.task import Task

TASK = Task(bands=["red"], classes=[{"name": n, "color": "#000000"} for n in ("rock", "lake", "objects")])


def check(targets: Any) -> dict[str, str]:
    params = EvaluateParams.model_validate({"targets": targets, "object_classes": ["lake"]})
    params.check(TASK)
    assert params.model_dump()["targets"] == targets  # records hold what was written
    return {target.name: target.rule for target in parse_targets(params.targets)}


def test_the_names_are_those_of_the_scores() -> None:
    assert SCORES["overall"].keys() == scores.OVERALL.keys()
    assert SCORES["class"].keys() == scores.BY_CLASS.keys()


@pytest.mark.parametrize(("name", "group", "label", "score"), [
    ("kappa", "overall", "", "kappa"), ("lake.iou", "class", "lake", "iou"),
    ("objects.lake.f1", "objects", "lake", "f1"), ("objects.f1", "class", "objects", "f1")])
def test_names_are_read(name: str, group: str, label: str, score: str) -> None:
    target = parse_target(name, ">= 0.5")
    assert (target.group, target.label, target.score, target.threshold) == (group, label, score, 0.5)


@pytest.mark.parametrize(("rule", "sign", "threshold", "kept", "broken"), [
    (">= 0.5", ">=", 0.5, 0.5, 0.499), ("> .5", ">", 0.5, 0.501, 0.5), ("<=5e-1", "<=", 0.5, 0.5, 0.501),
    (" < 0.5 ", "<", 0.5, 0.499, 0.5), (">= -0.25", ">=", -0.25, -0.25, -0.3)])
def test_rules_are_read(rule: str, sign: str, threshold: float, kept: float, broken: float) -> None:
    target = parse_target("mcc", rule)
    assert (target.sign, target.threshold) == (sign, threshold)
    assert target.keeps(kept)
    assert not target.keeps(broken)
    assert not target.keeps(float("nan"))
    assert target.from_below == (sign in (">", ">="))


def test_dotted_and_nested_are_one() -> None:
    dotted = {"lake.iou": ">= 0.5", "lake.f1": "> 0.6", "objects.lake.false": "<= 3", "mcc": ">= 0.8"}
    nested = {"lake": {"iou": ">= 0.5", "f1": "> 0.6"}, "objects": {"lake": {"false": "<= 3"}}, "mcc": ">= 0.8"}
    assert check(dotted) == dotted == check(nested) == check({**nested, "lake": {"iou": ">= 0.5"}, "lake.f1": "> 0.6"})
    assert check(None) == check({}) == {}


@pytest.mark.parametrize(("targets", "message"), [
    ({"iou.lake": ">= 0.5"}, "must name the class first: got iou.lake; write lake.iou"),
    ({"objects.f1.lake": ">= 0.5"}, "must name the class first: got objects.f1.lake; write objects.lake.f1"),
    ({"mc": ">= 0.5"}, "which are mcc, kappa, .*: got mc; did you mean mcc"),
    ({"lake.iuo": ">= 0.5"}, "got lake.iuo; did you mean lake.iou"),
    ({"objects.lake.found": ">= 0.5"}, "got objects.lake.found; did you mean objects.lake.found_share"),
    ({"objects.lake.truth": ">= 5"}, "must name scores with intervals, .*: got objects.lake.truth"),
    ({"a.b.c.d": ">= 0.5"}, "must name scores with intervals, .*: got a.b.c.d"),
    ({"mcc": 0.5}, r"mcc must be a sign .* such as \">= 0.5\": got 0.5"),
    ({"mcc": "0.5"}, "mcc must be a sign .*: got '0.5'"),
    ({"mcc": "== 0.5"}, "mcc must be a sign .*: got '== 0.5'"),
    ({"mcc": ">= nan"}, "mcc must be a sign .*: got '>= nan'"),
    ({"mcc": None}, "mcc must be a sign .*: got None"),
    ({"lake.iou": ">= 50"}, "lake.iou must be within reach, as iou is 0 to 1: got '>= 50'; write shares as fractions"),
    ({"mcc": "> 1"}, "mcc must be within reach, as mcc is -1 to 1"),
    ({"lake.iou": "< 0"}, "lake.iou must be within reach"),
    ({"objects.lake.false": "< 0"}, "as false is 0 or more"),
    ({"lake": {"iou": ">= 0.5"}, "lake.iou": ">= 0.6"}, "must name a score once: got lake.iou dotted and nested"),
    ({"water.iou": ">= 0.5"}, r"evaluate.targets water.iou must name a class of task.classes .*: got 'water'"),
    ({"objects.rock.f1": ">= 0.5"}, r"objects.rock.f1 must be of objects that evaluate.object_classes \['lake'\] "
                                    "counts: got 'rock'; add it there"),
    ([1], "Input should be a valid dictionary"),
])
def test_what_is_refused(targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(targets)


@pytest.mark.parametrize(("name", "rule"), [("lake.iou", ">= 0"), ("mcc", "<= 1"), ("mcc", "> -2"),
                                            ("objects.lake.false", ">= 0")])
def test_what_always_holds_is_told_once(name: str, rule: str) -> None:
    with pytest.warns(UserWarning, match=f"evaluate.targets {name} has no effect") as caught:
        check({name: rule})
    assert len(caught) == 1


@pytest.mark.parametrize(("name", "rule"), [("lake.iou", "> 0"), ("mcc", ">= 0"), ("mcc", ">= 1"), ("mcc", "<= -1"),
                                            ("objects.lake.false", "<= 0")])
def test_the_rest_is_silent(name: str, rule: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check({name: rule})


def test_params_yaml_says_where(project: Any) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert parse(text).section(EvaluateParams).targets is None
    lines = ["  targets: {mcc: high}" if line.startswith("  targets:") else line for line in text.splitlines()]
    with pytest.raises(ParamsError, match=r"evaluate\.targets mcc must be a sign .* \(in evaluate\.targets\)"):
        parse("\n".join(lines))
