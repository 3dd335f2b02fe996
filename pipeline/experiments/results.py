"""What is kept of a variant: counts by block of the network and its members, and metrics.json."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import IntegrityError
from pipeline.evaluation.tally import MEMBER, NETWORK
from pipeline.metrics.confusion import Confusion, merge_blocks

Blocks = dict[int, Confusion]


@dataclass(frozen=True)
class Result:
    """The headline truth's counts of one variant on val (out of fold where members held out different folds).

    `network`: block -> confusion of all members together; `by_member`: the same of each of several members, on the
    fold it held out where `out_of_fold`. `place_of_block`: block -> place, where blocks of several scenes share one.
    """

    classes: tuple[str, ...]
    truth: str
    network: Blocks
    by_member: Mapping[int, Blocks]
    #: Number, seed and fold of each member.
    members: tuple[tuple[int, int, int], ...]
    out_of_fold: bool
    place_of_block: Mapping[int, int]
    metrics: Mapping[str, Any]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the members, in their order."""
        return tuple(dict.fromkeys(seed for _, seed, _ in self.members))

    @property
    def by_seed(self) -> dict[int, Blocks]:
        """Block -> confusion by seed, where there are several and each was scored on all blocks."""
        if len(self.seeds) < 2 or not (self.out_of_fold or len(self.seeds) == len(self.members)):
            return {}
        return {seed: _merged(self.by_member[n] for n, own, _ in self.members if own == seed) for seed in self.seeds}

    @property
    def by_fold(self) -> dict[int, Blocks]:
        """Block -> confusion by held-out fold, all seeds together; {} where there is one."""
        if not self.out_of_fold:
            return {}
        fold_of = {block: fold for number, _, fold in self.members for block in self.by_member[number]}
        return {fold: {block: c for block, c in self.network.items() if fold_of[block] == fold}
                for fold in sorted(set(fold_of.values()))}

    @property
    def truths(self) -> dict[int, tuple[int, ...]]:
        """Pixels of each true class by block: what has to be equal for two results to be paired."""
        return {block: tuple(c.matrix.sum(axis=1).tolist()) for block, c in self.network.items()}


def read_result(folder: Path, method: str = NETWORK) -> Result:
    """Read a variant's results.

    Args:
        folder: with metrics.json, confusions.parquet and certificate.json.
        method: whose counts are `network`: network, or network_tta where that was scored.

    Raises:
        IntegrityError: a file is missing, or has no counts of the method.
    """
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
        table = pd.read_parquet(folder / "confusions.parquet")
    except (OSError, json.JSONDecodeError) as error:
        raise IntegrityError(f"{folder} must hold the results of a variant: {error}; remove the folder and run the "
                             "ablation again") from error
    table = table[table["truth"] == metrics["headline"]]
    k = len(metrics["classes"])
    network = _blocks(table[table["method"] == method], k)
    if not network:
        raise IntegrityError(f"{folder} must have counts of the {method}: got none; remove the folder and run the "
                             "ablation again")
    numbers = [(int(m["number"]), int(m["seed"]), int(m["fold"])) for m in metrics["members"]]
    members = table[table["method"] == MEMBER]
    by_member = {number: _blocks(members[members["member"] == number], k) for number, _, _ in numbers}
    places = {int(block): min(ids) for ids in certificate["shared_places"] for block in ids}
    return Result(tuple(metrics["classes"]), metrics["headline"], network, by_member, tuple(numbers),
                  bool(metrics["out_of_fold"]), places, metrics)


def _blocks(rows: pd.DataFrame, k: int) -> Blocks:
    blocks: Blocks = {}
    for block, cells in rows.groupby("block", sort=True):
        matrix = np.zeros((k, k), dtype=np.int64)
        np.add.at(matrix, (cells["true"].to_numpy(), cells["predicted"].to_numpy()), cells["count"].to_numpy())
        blocks[int(block)] = Confusion(matrix)
    return blocks


def _merged(several: Iterable[Blocks]) -> Blocks:
    result: Blocks = {}
    for blocks in several:
        result = merge_blocks(result, blocks)
    return result
