"""Targets of a model (`evaluate.targets`): scores with the rule each must keep, such as `water.iou: ">= 0.5"`.

A score is named with the class first: `mcc`, `kappa`, `accuracy` and `macro_iou` of all classes; `iou`, `f1`,
`precision`, `recall` and `class_mcc` of a class (`water.iou`); `found_share`, `precision`, `f1` and `false` of its
whole objects (`objects.water.f1`). A rule is a sign and a number. It is judged by the worse limit of the score's
interval (pipeline.metrics.gates), so only scores with an interval can be targets.
"""

import difflib
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.params.task import Task

Group = Literal["overall", "class", "objects"]

#: Score -> its least and largest value, by what it is a score of.
SCORES: dict[Group, dict[str, tuple[float, float]]] = {
    "overall": {"mcc": (-1, 1), "kappa": (-1, 1), "accuracy": (0, 1), "macro_iou": (0, 1)},
    "class": {"iou": (0, 1), "f1": (0, 1), "precision": (0, 1), "recall": (0, 1), "class_mcc": (-1, 1)},
    "objects": {"found_share": (0, 1), "precision": (0, 1), "f1": (0, 1), "false": (0, math.inf)},
}

_RULE = re.compile(r"^\s*(?P<sign>>=|<=|>|<)\s*(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)\s*$")
_FORMS = ("mcc, kappa, accuracy, macro_iou, <class>.iou (f1, precision, recall, class_mcc) or objects.<class>.f1 "
          "(found_share, precision, false)")


@dataclass(frozen=True)
class Target:
    """A score and the rule it must keep; `label` is the class, "" for scores of all classes."""

    name: str
    group: Group
    label: str
    score: str
    sign: str
    threshold: float

    @property
    def rule(self) -> str:
        """The rule in words of params.yaml, such as `>= 0.5`."""
        return f"{self.sign} {self.threshold:g}"

    @property
    def from_below(self) -> bool:
        """Whether the score must be large, so that the lower limit of its interval decides."""
        return self.sign.startswith(">")

    def keeps(self, value: float) -> bool:
        """Whether a value keeps the rule; NaN never does."""
        match self.sign:
            case ">=":
                return value >= self.threshold
            case ">":
                return value > self.threshold
            case "<=":
                return value <= self.threshold
            case _:
                return value < self.threshold


def _dotted(value: Mapping[str, Any]) -> dict[str, Any]:
    """Targets with dotted names, of any nesting of mappings."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        nested = _dotted(item) if isinstance(item, Mapping) else None
        inner = {str(name): item} if nested is None else {f"{name}.{rest}": rule for rest, rule in nested.items()}
        if twice := sorted(found.keys() & inner.keys()):
            raise ValueError(f"evaluate.targets must name a score once: got {twice[0]} dotted and nested; remove one")
        found |= inner
    return found


def parse_target(name: str, rule: Any) -> Target:
    """One entry of evaluate.targets.

    Raises:
        ValueError: the name is none of a score with an interval, the rule does not read as one, or it cannot be kept.
    """
    group, label, score = _named(name)
    match = _RULE.match(rule) if isinstance(rule, str) else None
    if match is None:
        raise ValueError(f"evaluate.targets {name} must be a sign (>=, >, <=, <) and a number in quotes, such as "
                         f"\">= 0.5\": got {rule!r}")
    target = Target(name, group, label, score, match["sign"], float(match["number"]))
    low, high = SCORES[group][score]
    if not target.keeps(high if target.from_below else low):
        span = f"{low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
        raise ValueError(f"evaluate.targets {name} must be within reach, as {score} is {span}: got {rule!r}; "
                         "write shares as fractions")
    return target


def parse_targets(targets: Mapping[str, Any] | None) -> tuple[Target, ...]:
    """All entries of evaluate.targets, in their order: dotted names, or nested mappings, which -S makes; None is none.

    Raises:
        ValueError: one is not acceptable, or there twice, dotted and nested.
    """
    return tuple(parse_target(name, rule) for name, rule in _dotted(targets or {}).items())


def check_targets(targets: Mapping[str, Any] | None, task: Task, object_classes: Sequence[str]) -> None:
    """Cross-check with the task, before anything is trained for nothing.

    Raises:
        ValueError: a target is of no class of the task, or of objects that are not counted.
    """
    for target in parse_targets(targets):
        if target.label:
            task.class_id(target.label, f"evaluate.targets {target.name}")
        if target.group == "objects" and target.label not in object_classes:
            raise ValueError(f"evaluate.targets {target.name} must be of objects that evaluate.object_classes "
                             f"{list(object_classes)} counts: got {target.label!r}; add it there")
        low, high = SCORES[target.group][target.score]
        if target.keeps(low if target.from_below else high):
            warnings.warn(f"evaluate.targets {target.name} has no effect: {target.score} always keeps {target.rule}",
                          stacklevel=2)


def _named(name: str) -> tuple[Group, str, str]:
    """What a name is a score of, the class, the score."""
    parts = name.split(".")
    match parts:
        case [score] if score in SCORES["overall"]:
            return "overall", "", score
        case [label, score] if score in SCORES["class"]:
            return "class", label, score
        case ["objects", label, score] if score in SCORES["objects"]:
            return "objects", label, score
        case [score, label] if score in SCORES["class"]:
            raise ValueError(f"evaluate.targets must name the class first: got {name}; write {label}.{score}")
        case ["objects", score, label] if score in SCORES["objects"]:
            raise ValueError(f"evaluate.targets must name the class first: got {name}; write objects.{label}.{score}")
    groups: tuple[Group, ...] = ("overall", "class", "objects")
    known = SCORES[groups[len(parts) - 1]] if len(parts) <= len(groups) else ()
    near = difflib.get_close_matches(parts[-1], known, n=1, cutoff=0.5)
    remedy = f"; did you mean {'.'.join([*parts[:-1], near[0]])}?" if near else ""
    raise ValueError(f"evaluate.targets must name scores with intervals, which are {_FORMS}: got {name}{remedy}")
