"""Threads on record: a replay sets those of stages that run no network, so only the others tell machines apart."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.lineage.replay import _found_differences
from pipeline.paths import Paths
from pipeline.tracking.environment import stage_environment


def found(root: Path, then: dict[str, Any], now: dict[str, Any], stage: str) -> list[str]:
    paths = Paths(root)
    paths.report(stage).mkdir(parents=True)
    (paths.report(stage) / "environment.json").write_text(json.dumps(now))
    return _found_differences(SimpleNamespace(environments={stage: then}), paths)  # type: ignore[arg-type]


def test_threads_of_a_stage_without_network_are_no_difference(tmp_path: Path) -> None:
    then = stage_environment("rasterize", Paths(tmp_path))
    assert found(tmp_path, then, {**then, "threads": then["threads"] + 1}, "rasterize") == []


def test_its_processor_is(tmp_path: Path) -> None:
    then = stage_environment("rasterize", Paths(tmp_path))
    assert found(tmp_path, then, {**then, "cpu": "another"}, "rasterize") == [f"cpu: {then['cpu']} -> another"]


def test_threads_of_a_network_are_one(tmp_path: Path) -> None:
    then = {**stage_environment("evaluate", Paths(tmp_path)), "threads": 2}
    assert found(tmp_path, then, {**then, "threads": 1}, "evaluate") == ["threads: 2 -> 1"]
