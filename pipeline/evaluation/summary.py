"""metrics.json: every score with its interval, paired differences to the baselines, objects, and zones.

Layout: truths.<truth>.<method>.<score>[.<class>] = {value, low, high}, and `defined`, the share of
the resamples in which the score is, where that is below 1; under truths.<truth>.network also
difference_to_<baseline> of the same form (the network minus the baseline, on the same resampled blocks), and
difference_to_best_baseline, which names for every score the baseline with the highest value of that score. Where
test-time augmentation is scored, truths.<truth>.network_tta has difference_to_network. Members of an ensemble that are
scored on the same pixels are methods too (network_member_<number>); see `pipeline.evaluation.members` for all that
concerns single members, seeds and folds (keys `members`, `out_of_fold`, `spread`).
`unscored` lists truths of which nothing is known in the part. objects.<class>.<method> counts whole objects: found ones
and false ones; `precision` is the share of the predicted ones that are not false, and `f1` the harmonic mean of it and
found_share. Their intervals, and that of the number of false ones, are under `intervals`, paired differences under
difference_to_<baseline> of the network (`pipeline.evaluation.object_scores`). `val_chose` says in what the part that is
scored helped to choose the network (`pipeline.evaluation.choice`), `too_thin` which classes a scored fold that the
certificate does not vouch for holds too little of, `gates` which of evaluate.targets are kept, where there are any
(`pipeline.evaluation.gating`).
zones.<method>.<zone>.<class> is the share of the zone's pixels that the method calls by that class. A score that is
0/0 is null (pipeline.metrics.scores).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from pipeline.evaluation.choice import brief
from pipeline.evaluation.gating import gate_count
from pipeline.evaluation.lineup import MemberFacts
from pipeline.evaluation.members import member_scores
from pipeline.evaluation.object_scores import object_scores
from pipeline.evaluation.tally import MEMBER, NETWORK, TTA, Method, Tally
from pipeline.metrics.bootstrap import (
    Estimate,
    Resamples,
    Sampled,
    differences,
    estimates,
    sample_scores,
)
from pipeline.metrics.scores import nested
from pipeline.params.evaluate import BootstrapParams
from pipeline.seeding import generator

V = TypeVar("V")


def summarise(tally: Tally, part: str, params: BootstrapParams, seed: int, zones: Mapping[int, str],
              members: Sequence[MemberFacts] = (), out_of_fold: bool = False) -> dict[str, Any]:
    """All figures of a part as plain data, NaN as None.

    Args:
        tally: the counts.
        part: the part's name; part, truth and seed choose the resamples.
        params: number of resamples and coverage.
        seed: the project's seed.
        zones: names of the zone ids.
        members: of the network; none where a predictor stands in.
        out_of_fold: whether each member was scored on the fold it held out only.
    """
    result: dict[str, Any] = {"truths": {}, "unscored": [], "objects": {}, "zones": {}}
    for truth, counted in tally.confusions.items():
        methods = _on_all_pixels(counted, out_of_fold)
        blocks = {block for per_block in methods.values() for block in per_block}
        if not blocks:
            result["unscored"].append(truth)
            continue
        by_place = {m: tally.places(per_block) for m, per_block in methods.items()}
        places = sorted({place for per_place in by_place.values() for place in per_place})
        rng = generator(seed, "bootstrap", part, truth)
        resamples = Resamples.draw(places, params.resamples, params.confidence, rng)
        sampled = {m: sample_scores(per_place, tally.classes, resamples) for m, per_place in by_place.items()}
        result["truths"][truth] = _by_method({m: estimates(s, resamples) for m, s in sampled.items()})
        result["truths"][truth][NETWORK].update(_differences(sampled, resamples))
        if tta := [m for m in sampled if m[0] == TTA]:
            paired = differences(sampled[tta[0]], sampled[_network(sampled)], resamples)
            result["truths"][truth][TTA]["difference_to_network"] = nested(paired)
        pixels = sum(c.pixels for c in next(iter(methods.values())).values())
        result["truths"][truth] |= {"pixels": pixels, "blocks": len(blocks), "places": len(places)}
    for name in tally.matches:
        matches = _on_all_pixels(tally.matches[name], out_of_fold)
        result["objects"][name] = object_scores(tally, matches, name, part, params, seed)
    for method, by_block in _on_all_pixels(tally.zones, out_of_fold).items():
        counts = tally.places(by_block)
        rng = generator(seed, "bootstrap", part, "zones")
        resamples = Resamples.draw(sorted(counts), params.resamples, params.confidence, rng)
        result["zones"][_name(method)] = _zones(counts, resamples, zones, tally.classes)
    result |= member_scores(tally, members, out_of_fold, params.confidence)
    plain: dict[str, Any] = _plain(result)
    return plain


def _on_all_pixels(by_method: Mapping[Method, V], out_of_fold: bool) -> dict[Method, V]:
    """The methods that are scored on one set of pixels, and so can be compared."""
    return {method: value for method, value in by_method.items() if not (out_of_fold and method[0] == MEMBER)}


def _name(method: Method) -> str:
    return f"{method[0]}_{method[1]}" if method[0] == MEMBER else method[0]


def _by_method(scores: Mapping[Method, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {_name(method): nested(flat) for method, flat in scores.items()}


def _baselines(methods: Mapping[Method, Any]) -> list[Method]:
    return [m for m in methods if m[0] not in (NETWORK, TTA, MEMBER)]


def _network(methods: Mapping[Method, Any]) -> Method:
    return next(m for m in methods if m[0] == NETWORK)


def _differences(sampled: Mapping[Method, Sampled], resamples: Resamples) -> dict[str, Any]:
    """Paired differences of the network to each baseline, and score by score to the best one."""
    network = sampled[_network(sampled)]
    by_baseline = {m: differences(network, sampled[m], resamples) for m in _baselines(sampled)}
    result: dict[str, Any] = {f"difference_to_{m[0]}": nested(flat) for m, flat in by_baseline.items()}
    best: dict[str, Any] = {}
    for score in network.points:
        known = [m for m in by_baseline if not math.isnan(sampled[m].points[score])]
        if known:
            method = max(known, key=lambda m: sampled[m].points[score])
            best[score] = {"baseline": method[0], **by_baseline[method][score].plain()}
    if best:
        result["difference_to_best_baseline"] = nested(best)
    return result


def _zones(counts: Mapping[int, Any], resamples: Resamples, zones: Mapping[int, str],
           classes: Sequence[str]) -> dict[str, Any]:
    """Share of each named zone that is called each class."""
    counts_BZK = np.stack([counts[block] for block in resamples.blocks])[:, sorted(zones)]
    drawn_RZK = resamples.totals(counts_BZK)
    total_ZK = counts_BZK.sum(axis=0)
    result: dict[str, Any] = {}
    for i, zone in enumerate(sorted(zones)):
        pixels = int(total_ZK[i].sum())
        if pixels == 0:
            continue
        size_R = drawn_RZK[:, i].sum(axis=-1)
        result[zones[zone]] = {"pixels": pixels}
        for c, label in enumerate(classes):
            drawn = np.divide(drawn_RZK[:, i, c], size_R, out=np.full_like(size_R, np.nan), where=size_R > 0)
            result[zones[zone]][label] = resamples.interval(float(total_ZK[i, c] / pixels), drawn)
    return result


def _plain(value: Any) -> Any:
    """Mappings, lists, numbers and strings only; NaN as None."""
    if isinstance(value, Estimate):
        return value.plain()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def headline_scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers an experiment is compared by: the network's against the headline truth, without intervals.

    `beyond_best_baseline` are the paired differences to the best baseline of each score, `tta_minus_plain` those that
    test-time augmentation makes, `over_seeds` and `over_folds` mean and standard deviation, where there are several;
    `val_chose` says in what the scored part helped to choose the network, `gates` how many of evaluate.targets hold.
    """
    truth = metrics["headline"]
    network, tta = metrics["truths"][truth][NETWORK], metrics["truths"][truth].get(TTA)
    beyond = network.get("difference_to_best_baseline", {})
    objects = {name: methods[NETWORK]["found_share"]["value"] for name, methods in metrics["objects"].items()}
    headline = {
        **({"val_chose": brief(metrics["val_chose"])} if "val_chose" in metrics else {}),
        **{score: network[score]["value"] for score in ("mcc", "kappa", "accuracy", "macro_iou")},
        "iou": {name: estimate["value"] for name, estimate in network["iou"].items()},
        "beyond_best_baseline": {s: beyond[s]["value"] for s in ("mcc", "macro_iou") if s in beyond},
        "objects_found": objects,
        **({"gates": count} if (count := gate_count(metrics)) else {}),
    }
    if tta is not None:
        headline["tta_minus_plain"] = {s: tta["difference_to_network"][s]["value"] for s in ("mcc", "macro_iou")}
    apart = metrics.get("spread", {}).get(truth, {})
    for over in ("over_seeds", "over_folds"):
        if over in apart:
            headline[over] = {s: {what: apart[over][s][what] for what in ("mean", "sd")} for s in ("mcc", "macro_iou")}
    return headline


def flat_values(metrics: Mapping[str, Any], truth: str) -> dict[str, float]:
    """A truth's defined point values by flat name (`network.iou.water`, `over_seeds.mcc.mean`), for logs."""
    values = dict(_walk(metrics["truths"][truth], ()))
    apart = metrics.get("spread", {}).get(truth, {})
    for over in (key for key in apart if key.startswith("over_")):
        for score in ("mcc", "macro_iou"):
            values |= {f"{over}.{score}.{what}": float(apart[over][score][what]) for what in ("mean", "sd")
                       if apart[over][score][what] is not None}
    return values


def _walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += _walk(value, (*path, key))
        elif key == "value" and value is not None:
            found.append((".".join(path), float(value)))
    return found
