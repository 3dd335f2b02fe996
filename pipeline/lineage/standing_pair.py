"""Two standings side by side: each score with its own interval, and the paired difference where the ground is the same.

A difference is the candidate minus the champion on the blocks that both were scored on, drawn alike
(`pipeline.metrics.bootstrap`). That takes the same split, classes, truth and true pixels; seeds, members and folds may
differ, since the ground is what makes the pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.evaluation.gating import gates
from pipeline.experiments.comparison import by_place, other_ground
from pipeline.experiments.results import Result
from pipeline.lineage.standing import Standing
from pipeline.metrics.bootstrap import Estimate, Resamples, differences, sample_scores
from pipeline.params.evaluate import BootstrapParams
from pipeline.params.targets import Target, parse_target
from pipeline.seeding import generator

#: Scores shown of all classes, of each class, and of each class's whole objects.
_OVERALL, _OF_CLASS, _OF_OBJECTS = ("mcc", "macro_iou"), ("iou",), ("found_share", "f1")
_UNKNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """One score: the candidate's, the champion's, and the first minus the second (None where it is not known)."""

    name: str
    candidate: Estimate
    champion: Estimate | None
    difference: Estimate | None


@dataclass(frozen=True)
class Pair:
    """The table of a promotion."""

    rows: tuple[Row, ...]
    #: Why there are no differences; "" where there are, or where there is no champion.
    unpaired: str
    #: Blocks that the differences are taken on.
    blocks: int


def side_by_side(candidate: Standing, champion: Standing | None) -> Pair:
    """Compare a candidate that has been scored with the present holder of the alias, where there is one."""
    names = _names(candidate)
    own = _estimates(candidate, names)
    if champion is None:
        return Pair(tuple(Row(name, own[name], None, None) for name in names), "", 0)
    theirs = _estimates(champion, names) if champion.metrics is not None else {}
    why = _unpaired(candidate, champion)
    paired, blocks = ({}, 0) if why else _differences(candidate, champion)
    return Pair(tuple(Row(name, own[name], theirs.get(name), paired.get(_flat(name))) for name in names), why, blocks)


def _names(standing: Standing) -> list[str]:
    """The scores to show, in words of evaluate.targets: a few of every kind, and the targets."""
    assert standing.metrics is not None
    found = list(_OVERALL)
    found += [f"{label}.{score}" for label in standing.metrics["classes"] for score in _OF_CLASS]
    found += [f"objects.{label}.{score}" for label in standing.metrics["objects"] for score in _OF_OBJECTS]
    return list(dict.fromkeys([*found, *(gate.target.name for gate in standing.gates)]))


def _estimates(standing: Standing, names: Sequence[str]) -> dict[str, Estimate]:
    assert standing.metrics is not None
    asked = [_asking(name) for name in names]
    confidence = float(standing.params["evaluate"]["bootstrap"]["confidence"])
    return {gate.target.name: gate.estimate for gate in gates(standing.metrics, asked, confidence, standing.method)}


def _asking(name: str) -> Target:
    """A target that only asks for a score."""
    return parse_target(name, ">= 0")


def _unpaired(candidate: Standing, champion: Standing) -> str:
    """Why two standings have no paired differences; "" where they have."""
    ours, theirs = candidate.result, champion.result
    if ours is None or theirs is None:
        lacking = champion if theirs is None else candidate
        return f"the counts by block of version {lacking.version.version} were not found"
    if candidate.split != champion.split:
        return "the two were made on different splits, so what one is scored on the other may have been trained on"
    common, number = _common(ours, theirs), champion.version.version
    if why := other_ground(theirs, ours, f"version {number}", common):
        return f"version {candidate.version.version} against version {number}: {why}"
    return "" if common else "they were scored on no common block, as they held out different folds"


def _common(first: Result, second: Result) -> list[int]:
    return sorted(first.network.keys() & second.network.keys())


def _differences(candidate: Standing, champion: Standing) -> tuple[Mapping[str, Estimate], int]:
    """Paired differences of all pixel scores by flat name, and the number of common blocks."""
    ours, theirs = candidate.result, champion.result
    assert ours is not None
    assert theirs is not None
    common = _common(ours, theirs)
    params = BootstrapParams.model_validate(candidate.params["evaluate"]["bootstrap"])
    places = [by_place({block: r.network[block] for block in common}, ours.place_of_block) for r in (ours, theirs)]
    rng = generator(int(candidate.params["seed"]), "bootstrap", "val", ours.truth)  # the draws of evaluate
    resamples = Resamples.draw(sorted(places[0]), params.resamples, params.confidence, rng)
    first, second = (sample_scores(blocks, ours.classes, resamples) for blocks in places)
    return differences(first, second, resamples), len(common)


def _flat(name: str) -> str:
    """`water.iou` -> `iou.water`, as pipeline.metrics.scores names it; objects have no counts by block."""
    target = _asking(name)
    if target.group == "objects":
        return ""
    return f"{target.score}.{target.label}" if target.label else target.score
