"""A project small enough to plan for, and results of variants made by hand."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.evaluation.tally import MEMBER, NETWORK
from pipeline.experiments.plan import STAGES


@pytest.fixture
def root(tmp_path: Path, small_params: Callable[..., dict[str, Any]]) -> Path:
    """params.yaml, dvc.yaml with one code file for all stages, a lock and an input."""
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_params(), file)
    deps = {stage: {"cmd": "x", "deps": ["code.py", "requirements.lock"]} for stage in STAGES}
    deps["acquire"]["deps"] = ["${acquire.inputs}", "code.py"]
    with (tmp_path / "dvc.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"stages": deps}, file)
    (tmp_path / "inputs").mkdir()
    for name in ("code.py", "requirements.lock", "inputs/scene"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    return tmp_path


#: Block -> confusion (rows are true classes) by member number; a single member is the network.
Counts = Mapping[int, Mapping[int, list[list[int]]]]


@pytest.fixture
def write_results(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a variant's results: the network's counts, and those of its members."""

    def write(name: str, network: Mapping[int, list[list[int]]], members: Counts | None = None,
              facts: list[tuple[int, int]] | None = None, out_of_fold: bool = False, truth: str = "reference",
              classes: tuple[str, ...] = ("land", "water"), shared: list[list[int]] | None = None,
              f1: float | None = 0.5) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        methods = [(NETWORK, -1 if members else 0, network)]
        methods += [(MEMBER, number, blocks) for number, blocks in (members or {}).items()]
        rows = [("val", shown, method, member, "s", block, i, j, counts[i][j])
                for shown in ("refined", truth) for method, member, blocks in methods
                for block, counts in blocks.items() for i in range(2) for j in range(2) if counts[i][j]]
        columns = ["part", "truth", "method", "member", "scene", "block", "true", "predicted", "count"]
        pd.DataFrame(rows, columns=columns).to_parquet(folder / "confusions.parquet", index=False)
        numbers = [{"number": i, "seed": seed, "fold": fold} for i, (seed, fold) in enumerate(facts or [(42, 0)])]
        objects = {"water": {"network": {"found_share": {"value": 0.5, "low": 0.25, "high": 0.75}, "precision": None,
                                         "f1": f1}}}
        metrics = {"classes": classes, "headline": truth, "members": numbers, "out_of_fold": out_of_fold,
                   "objects": objects}
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        (folder / "certificate.json").write_text(json.dumps({"shared_places": shared or []}), encoding="utf-8")
        return folder

    return write
