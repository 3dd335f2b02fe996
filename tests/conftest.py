"""Fixtures that several suites share: the project's root, real data, and parameters of a run that takes seconds."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]

#: What turns the settlement recipe into a run of seconds: 256 px, three epochs of a tiny network.
SMALL = {
    "acquire.synthetic.size_px": 256,
    "spatial_split.block_size_m": 320,
    "spatial_split.folds": 3,
    "spatial_split.test_fraction": 0.25,
    "spatial_split.buffer_m": 20,
    "spatial_split.min_pixels": 10,
    "train.network.encoder_depth": 3,
    "train.network.decoder_channels": [32, 16, 8],
    "train.patches.size_px": 64,
    "train.patches.per_epoch": 8,
    "train.batch_size": 4,
    "train.epochs": 3,
    "evaluate.tiles": {"size_px": 128, "overlap_px": 32},
    "evaluate.baselines.boosting_focal": False,
    "evaluate.baselines.boosting_pixels": 2000,
    "evaluate.bootstrap": {"resamples": 100},
    "export.class_shares": {},
}


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the MLflow store or the repository of whoever runs it, nor uses their cluster."""
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "KUMULUS_PROCESSES",
                 "DASK_SCHEDULER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes and labels; tests that need it skip where there is none."""
    folder = Path(os.environ.get("KUMULUS_TEST_DATA") or ROOT.parent / "shared/data")
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is no folder; set KUMULUS_TEST_DATA to one that has it")
    return folder


@pytest.fixture(scope="session")
def small_params() -> Callable[..., dict[str, Any]]:
    """A function that gives the raw params of a small run; dotted keys in `changes` are set on top."""
    recipe = YAML(typ="safe", pure=True).load((ROOT / "recipes/settlement.yaml").read_text(encoding="utf-8"))

    def build(changes: dict[str, Any] | None = None) -> dict[str, Any]:
        raw: dict[str, Any] = copy.deepcopy(recipe)
        for key, value in {**SMALL, **(changes or {})}.items():
            node = raw
            *parents, last = key.split(".")
            for part in parents:
                node = node.setdefault(part, {})
            node[last] = copy.deepcopy(value)
        return raw

    return build
