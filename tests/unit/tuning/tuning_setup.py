"""A search on the tiny store: params, tune file, and one trial.

`python tuning_setup.py ROOT` makes a trial of the data in ROOT/data and prints what it was worth, and each report.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tuning.objective import Objective, TrialResult, make_objective
from pipeline.tuning.space import TuneFile
from pipeline.types import SilentLog

CLASSES = ("background", "settlement", "water")
TRAIN: dict[str, Any] = {
    "network": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, "patches": {"size_px": 32, "per_epoch": 16},
    "batch_size": 8, "epochs": 30, "threads": 1, "accelerator": "cpu", "ema_decay": 0.5}
SPACE: dict[str, Any] = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def params_of(**train: Any) -> Params:
    """Params of the tiny store; keys of section train may differ."""
    return Params({"seed": 5, "train": {**TRAIN, **train}, "task": {
        "bands": ["blue", "green", "red", "nir"], "background": "background",
        "classes": [{"name": name, "color": "#102030"} for name in CLASSES]}})


def tune_of(**changes: Any) -> TuneFile:
    """A tune file with three epochs a trial."""
    return TuneFile.model_validate({"name": "tiny", "epochs": 3, "space": SPACE, **changes})


def objective_of(root: Path, train: dict[str, Any] | None = None, **tune: Any) -> Objective:
    """The objective on the data in root/data."""
    return make_objective(params_of(**(train or {})), Paths(root), tune_of(**tune), SilentLog())


def trial(objective: Objective, stop_at: int = 0, **changes: Any) -> tuple[TrialResult, list[tuple[int, float]]]:
    """A trial with these keys (the learning rate by `lr`), and what it has reported."""
    told: list[tuple[int, float]] = []

    def report(step: int, score: float) -> bool:
        told.append((step, score))
        return step == stop_at

    return objective({"train.optimizer.lr": changes.pop("lr", 0.01), **changes}, report), told


if __name__ == "__main__":
    found, reported = trial(objective_of(Path(sys.argv[1])))
    print(json.dumps([found.score, list(found.fold_scores.items()), found.epochs, reported]))
