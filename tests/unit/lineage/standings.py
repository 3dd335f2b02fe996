"""Standings made by hand: two blocks with two classes, counted by [true, predicted]."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.evaluation.gating import gates
from pipeline.experiments.results import Result
from pipeline.lineage.standing import Standing
from pipeline.metrics.confusion import Confusion
from pipeline.params.targets import parse_targets
from pipeline.tracking.lookup import FoundVersion

CLASSES = ("rock", "lake")
NAME = "kumulus-test"

#: Ten pixels of each class in each block; the numbers are those called right.
Right = Mapping[int, tuple[int, int]]


def counts(rock: int, lake: int) -> Confusion:
    return Confusion(np.array([[rock, 10 - rock], [10 - lake, lake]]))


def scores(value: float) -> dict[str, Any]:
    """metrics.json of a network whose every score is `value`, with an interval of a tenth to either side."""
    def estimate() -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    network = {**{score: estimate() for score in ("mcc", "kappa", "accuracy", "macro_iou")},
               **{score: {name: estimate() for name in CLASSES} for score in ("iou", "f1")}}
    lake = {"found_share": estimate(), "f1": value, "intervals": {"f1": estimate()}}
    return {"part": "val", "headline": "reference", "classes": list(CLASSES), "val_chose": ["epoch"],
            "truths": {"reference": {"network": network}}, "objects": {"lake": {"network": lake}}}


def standing(number: int, right: Right, value: float = 0.7, targets: Mapping[str, str] | None = None,
             split: str = "split", **result: Any) -> Standing:
    """A version with this many pixels right by block; `result` replaces parts of its counts."""
    metrics = scores(value)
    network = {block: counts(*numbers) for block, numbers in right.items()}
    found = Result(**{"classes": CLASSES, "truth": "reference", "network": network, "by_member": {}, "members": (),
                      "out_of_fold": False, "place_of_block": {}, "metrics": metrics, **result})
    params = {"seed": 7, "evaluate": {"bootstrap": {"resamples": 200, "confidence": 0.95}}}
    version = FoundVersion(NAME, str(number), (), {}, "", "")
    return Standing(version, "network", metrics, found, split, params,
                    gates(metrics, parse_targets(targets or {}), 0.95), ())
