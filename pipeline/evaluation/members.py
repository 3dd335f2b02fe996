"""Scores of single members, seeds and folds, and how far they lie apart: metrics.json's `members` and `spread`.

`members` lists number, seed and fold; `out_of_fold` says whether val scores are. spread.<truth> has

- by_member.<number>.<score>[.<class>]: a member alone. Out of fold it is scored on the fold it held out, elsewhere on
  the whole part; `objects.<class>` counts whole objects there.
- by_seed.<seed>: the members of one seed together, where there are several seeds: their out-of-fold mosaic, or beside
  one val fold the member itself.
- by_fold.<fold>: out of fold, the fold's blocks by the members that held it out, all seeds averaged.
- over_members, over_seeds, over_folds.<score>[.<class>] = {n, mean, sd, least, largest, low, high}: over the values
  that are defined. low and high are the mean's t-interval (pipeline.metrics.spread), over seeds only; n is small,
  and an interval of two or three values says little more than that.

Scores over all blocks together and their intervals over blocks are under `truths`, which this does not replace: an
interval over blocks is about ground, one over seeds about training.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.evaluation.lineup import MemberFacts
from pipeline.evaluation.tally import MEMBER, NETWORK, Method, Tally
from pipeline.metrics.confusion import Confusion, merge_all
from pipeline.metrics.scores import flat_scores, nested
from pipeline.metrics.spread import spread

Flat = dict[str, float]


def member_scores(tally: Tally, members: Sequence[MemberFacts], out_of_fold: bool,
                  confidence: float) -> dict[str, Any]:
    """The keys `members`, `out_of_fold` and, of several members, `spread`, as plain data with NaN where undefined.

    Args:
        tally: the counts.
        members: the members scored; none where a predictor stands in.
        out_of_fold: whether each member was scored on the fold it held out.
        confidence: coverage of intervals over seeds.
    """
    facts = [{"number": m.number, "seed": m.seed, "fold": m.fold} for m in members]
    result: dict[str, Any] = {"members": facts, "out_of_fold": out_of_fold}
    if len(members) > 1:
        result["spread"] = {truth: _spread(tally, methods, members, out_of_fold, confidence)
                            for truth, methods in tally.confusions.items() if any(methods.values())}
    return result


def _spread(tally: Tally, methods: Mapping[Method, Mapping[int, Confusion]], members: Sequence[MemberFacts],
            out_of_fold: bool, confidence: float) -> dict[str, Any]:
    k = len(tally.classes)

    def scored(confusions: Iterable[Confusion]) -> Flat:
        flat = flat_scores(merge_all(confusions, k).matrix, tally.classes)
        return {name: float(value) for name, value in flat.items()}

    blocks_of = {m.number: methods.get((MEMBER, m.number), {}) for m in members}
    alone = {m.number: scored(blocks_of[m.number].values()) for m in members}
    by_member = {str(m.number): {"seed": m.seed, "fold": m.fold, **nested(alone[m.number]),
                                 **_objects(tally, m.number)} for m in members}
    result: dict[str, Any] = {"by_member": by_member, "over_members": _over(alone.values(), None)}
    seeds = sorted({m.seed for m in members})
    if len(seeds) > 1 and (out_of_fold or len(seeds) == len(members)):
        by_seed = {seed: scored(confusion for m in members if m.seed == seed
                                for confusion in blocks_of[m.number].values()) for seed in seeds}
        result |= {"by_seed": {str(seed): nested(flat) for seed, flat in by_seed.items()},
                   "over_seeds": _over(by_seed.values(), confidence)}
    if out_of_fold:
        fold_of_block = {block: m.fold for m in members for block in blocks_of[m.number]}
        whole = next(blocks for method, blocks in methods.items() if method[0] == NETWORK)
        by_fold = {fold: scored(confusion for block, confusion in whole.items() if fold_of_block[block] == fold)
                   for fold in sorted({m.fold for m in members})}
        result |= {"by_fold": {str(fold): nested(flat) for fold, flat in by_fold.items()},
                   "over_folds": _over(by_fold.values(), None)}
    return result


def _over(scores: Iterable[Flat], confidence: float | None) -> dict[str, Any]:
    rows = list(scores)
    return nested({name: vars(spread([row[name] for row in rows], confidence)) for name in rows[0]})


def _objects(tally: Tally, number: int) -> dict[str, Any]:
    found = {name: by_method[MEMBER, number] for name, by_method in tally.matches.items()
             if (MEMBER, number) in by_method}
    counts = {name: {"truth": len(match.found_N), "found": int(match.found_N.sum()), "predicted": match.predicted,
                     "false": match.false} for name, match in found.items()}
    return {"objects": counts} if counts else {}
