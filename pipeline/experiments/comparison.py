"""Variants minus the baseline: on the same blocks, with the same resamples, and seed by seed.

Two uncertainties, which say different things. The interval over blocks resamples ground (pipeline.metrics.bootstrap)
with the trained networks as they are. The one over seeds is Student's of the paired differences (the variant's seed
minus the baseline's of the same number; pipeline.metrics.spread) on the ground as it is; folds get mean and deviation
only. Sharing a seed does not make two trainings alike, so pairing by seed is for bookkeeping more than for precision;
sharing the ground is what makes the pairs.

Each interval is for its own row: with 20 rows and no effect anywhere one interval of 95 % is expected to miss zero.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.experiments.results import Blocks, Result
from pipeline.metrics.bootstrap import Estimate, Resamples, Sampled, differences, estimates, sample_scores
from pipeline.metrics.confusion import Confusion, merge_all
from pipeline.metrics.scores import flat_scores
from pipeline.metrics.spread import Spread, spread
from pipeline.params.evaluate import BootstrapParams
from pipeline.seeding import generator

_NAN = float("nan")


@dataclass(frozen=True)
class Compared:
    """One score of one variant. `difference` is to the baseline, with its interval over blocks; NaN where undefined.

    `by_seed` and `by_fold` are differences too, and `over_seeds`, `over_folds` summarise them; empty, None where there
    is one seed or fold. The baseline's own row has no differences.
    """

    value: Estimate
    difference: Estimate | None
    by_seed: Mapping[int, float]
    over_seeds: Spread | None
    by_fold: Mapping[int, float]
    over_folds: Spread | None


class Baseline:
    """The baseline's result, sampled once."""

    def __init__(self, result: Result, params: BootstrapParams, seed: int) -> None:
        self.result = result
        self._confidence = params.confidence
        blocks = by_place(result.network, result.place_of_block)
        rng = generator(seed, "bootstrap", "val", result.truth)  # evaluate's draws, so intervals are metrics.json's too
        self._resamples = Resamples.draw(sorted(blocks), params.resamples, params.confidence, rng)
        self._sampled = self._sample(result)
        self._parts = {kind: _scores(parts, result.classes) for kind, parts in _kinds(result).items()}

    def alone(self, metrics: Sequence[str]) -> dict[str, Compared]:
        """The baseline's own scores."""
        values = self._values(self.result, self._sampled)
        return {m: Compared(values[m], None, {}, None, {}, None) for m in metrics}

    def paired(self, other: Result, metrics: Sequence[str]) -> dict[str, tuple[Estimate, Estimate]]:
        """Another's scores and their differences to the baseline's; `other_ground` must have nothing against it."""
        sampled = self._sample(other)
        apart = differences(sampled, self._sampled, self._resamples)
        values, own = self._values(other, sampled), self._values(self.result, self._sampled)
        return {metric: (values[metric], apart[metric] if metric in apart else  # objects have no counts by block
                         Estimate(values[metric].value - own[metric].value, _NAN, _NAN)) for metric in metrics}

    def compare(self, other: Result, metrics: Sequence[str]) -> dict[str, Compared]:
        """A variant's scores and their differences to the baseline's; `unpaired` must have nothing against it."""
        parts = {kind: _scores(blocks, other.classes) for kind, blocks in _kinds(other).items()}
        result: dict[str, Compared] = {}
        for metric, (value, difference) in self.paired(other, metrics).items():
            apart = {kind: {key: flat[metric] - self._parts[kind][key][metric] for key, flat in found.items()
                            if metric in flat} for kind, found in parts.items()}
            seeds, folds = apart["seeds"], apart["folds"]
            result[metric] = Compared(value, difference, seeds,
                                      spread(list(seeds.values()), self._confidence) if seeds else None, folds,
                                      spread(list(folds.values())) if folds else None)
        return result

    def _sample(self, result: Result) -> Sampled:
        return sample_scores(by_place(result.network, result.place_of_block), result.classes, self._resamples)

    def _values(self, result: Result, sampled: Sampled) -> dict[str, Estimate]:
        return estimates(sampled, self._resamples) | _object_values(result.metrics)


def other_ground(baseline: Result, other: Result, name: str = "the baseline",
                 blocks: Collection[int] | None = None) -> str:
    """Why two results are not scored on the same ground; "" where they are, whatever their members.

    Args:
        baseline: the first.
        other: the second, which the answer calls "it".
        name: what the answer calls the first.
        blocks: those that are asked about, which both must have; all by default, and then both must have the same.
    """
    if other.classes != baseline.classes:
        return f"its classes {list(other.classes)} are not {name}'s {list(baseline.classes)}"
    if other.truth != baseline.truth:
        return f"it is scored against {other.truth}, {name} against {baseline.truth}"
    ours, theirs = baseline.truths, other.truths
    if blocks is None and set(ours) != set(theirs):
        return (f"it is scored on other blocks ({len(theirs)}, {len(set(ours) & set(theirs))} of them among {name}'s "
                f"{len(ours)}): the split differs")
    asked = ours if blocks is None else blocks
    if differing := [block for block in asked if ours[block] != theirs[block]]:
        return f"the truth differs in {len(differing)} of {len(asked)} blocks: labels, pixels or the split differ"
    return ""


def unpaired(baseline: Result, other: Result) -> str:
    """Why two results cannot be compared pixel by pixel and member by member; "" where they can."""
    if why := other_ground(baseline, other):
        return why
    if [m[1:] for m in other.members] != [m[1:] for m in baseline.members]:
        return "its members have other seeds or folds than the baseline's"
    if any(set(other.by_member[m[0]]) != set(baseline.by_member[m[0]]) for m in baseline.members):
        return "its members held out other blocks than the baseline's: the split differs"
    return ""


def _kinds(result: Result) -> dict[str, Mapping[int, Blocks]]:
    return {"seeds": result.by_seed, "folds": result.by_fold}


def _scores(parts: Mapping[int, Blocks], classes: Sequence[str]) -> dict[int, dict[str, float]]:
    k = len(classes)
    return {key: {name: float(value) for name, value in flat_scores(merge_all(blocks.values(), k).matrix,
                                                                    classes).items()}
            for key, blocks in parts.items()}


def by_place(blocks: Blocks, place_of_block: Mapping[int, int]) -> dict[int, Confusion]:
    """Counts by place: blocks that show one ground are drawn together."""
    places: dict[int, Confusion] = {}
    for block, confusion in blocks.items():
        place = place_of_block.get(block, block)
        places[place] = places[place] + confusion if place in places else confusion
    return dict(sorted(places.items()))


def _object_values(metrics: Mapping[str, Any]) -> dict[str, Estimate]:
    """Scores of whole objects with evaluate's own intervals; counts by block, which differences need, are not kept."""
    found: dict[str, Estimate] = {}
    for name, methods in metrics["objects"].items():
        counts = methods["network"]
        found[f"objects.{name}.found_share"] = Estimate.of(counts["found_share"])
        for score in ("precision", "f1"):
            limits = counts.get("intervals", {}).get(score, {})
            found[f"objects.{name}.{score}"] = Estimate.of({**limits, "value": counts[score]})
    return found
