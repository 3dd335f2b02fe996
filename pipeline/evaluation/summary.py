"""metrics.json: every score with its interval, paired differences to the baselines, objects, and zones.

Layout: truths.<truth>.<method>.<score>[.<class>] = {value, low, high}; under truths.<truth>.network also
difference_to_<baseline> of the same form (the network minus the baseline, on the same resampled blocks), and
difference_to_best_baseline, which names for every score the baseline with the highest value of that score.
`unscored` lists truths of which nothing is known in the part. objects.<class>.<method> counts whole objects.
zones.<method>.<zone>.<class> is the share of the zone's pixels that the method calls by that class. A score that is
0/0 is null (pipeline.metrics.scores).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.tally import Method, Tally
from pipeline.metrics.bootstrap import (
    Estimate,
    Resamples,
    Sampled,
    differences,
    estimates,
    sample_scores,
    share,
)
from pipeline.metrics.scores import nested
from pipeline.params.evaluate import BootstrapParams
from pipeline.seeding import generator

NETWORK = "network"
_MEMBER = "network_member"


def summarise(tally: Tally, part: str, params: BootstrapParams, seed: int,
              zones: Mapping[int, str]) -> dict[str, Any]:
    """All figures of a part as plain data, NaN as None.

    Args:
        tally: the counts.
        part: the part's name; part, truth and seed choose the resamples.
        params: number of resamples and coverage.
        seed: the project's seed.
        zones: names of the zone ids.
    """
    result: dict[str, Any] = {"truths": {}, "unscored": [], "objects": {}, "zones": {}}
    for truth, methods in tally.confusions.items():
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
        pixels = sum(c.pixels for c in next(iter(methods.values())).values())
        result["truths"][truth] |= {"pixels": pixels, "blocks": len(blocks), "places": len(places)}
    for name in tally.matches:
        result["objects"][name] = _objects(tally, name, part, params, seed)
    for method, by_block in tally.zones.items():
        counts = tally.places(by_block)
        rng = generator(seed, "bootstrap", part, "zones")
        resamples = Resamples.draw(sorted(counts), params.resamples, params.confidence, rng)
        result["zones"][_name(method)] = _zones(counts, resamples, zones, tally.classes)
    plain: dict[str, Any] = _plain(result)
    return plain


def _name(method: Method) -> str:
    return f"{method[0]}_{method[1]}" if method[0] == _MEMBER else method[0]


def _by_method(scores: Mapping[Method, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {_name(method): nested(flat) for method, flat in scores.items()}


def _baselines(methods: Mapping[Method, Any]) -> list[Method]:
    return [m for m in methods if m[0] not in (NETWORK, _MEMBER)]


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
            best[score] = {"baseline": method[0], **vars(by_baseline[method][score])}
    if best:
        result["difference_to_best_baseline"] = nested(best)
    return result


def _objects(tally: Tally, name: str, part: str, params: BootstrapParams, seed: int) -> dict[str, Any]:
    """Objects found and false by method; intervals resample places with their truth objects, the same for all methods.

    An object that several scenes show (dates, overlaps) lies in one place, so its dates are drawn together.
    """
    matches = tally.matches[name]
    place_N = tally.place_of(matches[_network(matches)].block_N)

    def interval(hits_N: Any) -> Estimate:
        rng = generator(seed, "bootstrap", part, "objects", name)
        return share(hits_N, place_N, params.resamples, params.confidence, rng)

    result: dict[str, Any] = {}
    for method, match in matches.items():
        result[_name(method)] = {"truth": len(match.found_N), "found": int(match.found_N.sum()),
                                 "predicted": match.predicted, "false": match.false,
                                 "places": len(np.unique(place_N)), "found_share": interval(match.found_N)}
    network = matches[_network(matches)].found_N.astype(np.int64)
    for method in _baselines(matches):
        paired = interval(network - matches[method].found_N)
        result[NETWORK][f"found_share_difference_to_{method[0]}"] = paired
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
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def headline_scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers an experiment is compared by: the network's against the headline truth, without intervals.

    `beyond_best_baseline` are the paired differences to the best baseline of each score.
    """
    network = metrics["truths"][metrics["headline"]][NETWORK]
    beyond = network.get("difference_to_best_baseline", {})
    objects = {name: methods[NETWORK]["found_share"]["value"] for name, methods in metrics["objects"].items()}
    return {
        **{score: network[score]["value"] for score in ("mcc", "kappa", "accuracy", "macro_iou")},
        "iou": {name: estimate["value"] for name, estimate in network["iou"].items()},
        "beyond_best_baseline": {s: beyond[s]["value"] for s in ("mcc", "macro_iou") if s in beyond},
        "objects_found": objects,
    }


def flat_values(metrics: Mapping[str, Any], truth: str) -> dict[str, float]:
    """A truth's defined point values by flat name (`network.iou.water`), for logs."""
    return dict(_walk(metrics["truths"][truth], ()))


def _walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += _walk(value, (*path, key))
        elif key == "value" and value is not None:
            found.append((".".join(path), float(value)))
    return found
