"""Scores of whole objects with intervals over places, and paired differences: metrics.json's `objects.<class>`.

Intervals of found_share resample the places that have truth objects. Those of precision, F1 and the number of false
objects (under `intervals`) resample all scored places, with the truth and the predicted objects in each: a place in
which nothing is and something is seen counts as well. An object that several scenes show (dates, overlaps) lies in one
place, so its dates are drawn together; a predicted object lies where most of its pixels do.

Shape legend: N truth objects, B places, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.tally import MEMBER, NETWORK, TTA, Method, Tally
from pipeline.metrics.bootstrap import Estimate, Resamples, Sampled, differences, estimates, share
from pipeline.metrics.objects import ObjectMatch
from pipeline.metrics.scores import ScoreArray
from pipeline.params.evaluate import BootstrapParams
from pipeline.seeding import generator
from pipeline.types import AnyArray


def object_scores(tally: Tally, matches: Mapping[Method, ObjectMatch], name: str, part: str, params: BootstrapParams,
                  seed: int) -> dict[str, Any]:
    """Objects of a class found and false by method; all methods are resampled alike.

    Args:
        tally: gives the scored blocks and their places.
        matches: of the methods that are scored on one set of pixels; one of them is the network.
        name: of the class; part, class and seed choose the resamples.
        part: the part's name.
        params: number of resamples and coverage.
        seed: the project's seed.
    """
    network = next(m for m in matches if m[0] == NETWORK)
    place_N = tally.place_of(matches[network].block_N)

    def interval(hits_N: Any) -> Estimate:
        rng = generator(seed, "bootstrap", part, "objects", name)
        return share(hits_N, place_N, params.resamples, params.confidence, rng)

    places = _places(tally, matches)
    rng = generator(seed, "bootstrap", part, "objects", name, "counts")
    resamples = Resamples.draw(places, params.resamples, params.confidence, rng)
    sampled = {method: _sampled(tally, match, resamples) for method, match in matches.items()}
    result: dict[str, Any] = {}
    for method, match in matches.items():
        points = sampled[method].points
        result[_name(method)] = {"truth": len(match.found_N), "found": int(match.found_N.sum()),
                                 "predicted": match.predicted, "false": match.false,
                                 "places": len(np.unique(place_N)), "found_share": interval(match.found_N),
                                 "precision": points["precision"], "f1": points["f1"],
                                 "intervals": estimates(sampled[method], resamples)}
    found_N = matches[network].found_N.astype(np.int64)
    for method in matches:
        if method[0] in (NETWORK, MEMBER):
            continue
        if method[0] == TTA:
            result[TTA]["difference_to_network"] = differences(sampled[method], sampled[network], resamples)
            continue
        paired = interval(found_N - matches[method].found_N)
        result[NETWORK][f"found_share_difference_to_{method[0]}"] = paired
        result[NETWORK][f"difference_to_{method[0]}"] = differences(sampled[network], sampled[method], resamples)
    return result


def _name(method: Method) -> str:
    return f"{method[0]}_{method[1]}" if method[0] == MEMBER else method[0]


def _places(tally: Tally, matches: Mapping[Method, ObjectMatch]) -> Sequence[int]:
    """All places in which objects could have been: those scored against the headline truth, and the objects' own."""
    scored = tally.confusions.get(tally.headline, {}).values()
    found = {place for by_block in scored for place in tally.places(by_block)}
    for match in matches.values():
        for block_N in (match.block_N, match.predicted_block_M):
            found |= set(tally.place_of(block_N).tolist())
    return sorted(found)


def _sampled(tally: Tally, match: ObjectMatch, resamples: Resamples) -> Sampled:
    """Precision, F1 and number of false objects of one method, over all places and on every resample."""
    truth_N, called_M = tally.place_of(match.block_N), tally.place_of(match.predicted_block_M)
    counted = [(truth_N, np.ones(len(truth_N))), (truth_N, match.found_N), (called_M, np.ones(len(called_M))),
               (called_M, match.false_M)]
    ids = np.array(resamples.blocks, dtype=np.int64)
    counts_B4 = np.stack([np.bincount(np.searchsorted(ids, place), weights, len(ids)) for place, weights in counted],
                         axis=1)
    points = {name: float(values[0]) for name, values in _rates(counts_B4.sum(axis=0)[None]).items()}
    return Sampled(points, _rates(resamples.totals(counts_B4)))


def _rates(counts_R4: AnyArray) -> dict[str, ScoreArray]:
    """Of numbers of truth, found, predicted and false objects: precision, F1 and the number of false ones.

    Precision is the share of the predicted objects that are not false, NaN without any; F1 the harmonic mean of it and
    the share of the truth objects found. Where nothing was predicted, F1 is 0 if there was something to find.
    """
    truth, found, predicted, false = np.moveaxis(counts_R4.astype(np.float64), -1, 0)
    nan = np.full(truth.shape, np.nan)
    recall = np.divide(found, truth, out=nan.copy(), where=truth > 0)
    precision = np.divide(predicted - false, predicted, out=nan.copy(), where=predicted > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.where(both == 0, 0.0, np.nan), where=both > 0)
    f1 = np.where((predicted == 0) & (truth > 0), 0.0, f1)
    return {"precision": precision, "f1": f1, "false": false}
