"""Stage evaluate on a small store: its report, its log, and the seal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.types import SilentLog
from stages import evaluate
from tests.unit.evaluation.small_store import CHEAP, params, write_checkpoint, write_store


class Kept(SilentLog):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.files: list[str] = []
        self.settings: dict[str, Any] = {}

    def params(self, values: Mapping[str, Any]) -> None:
        self.settings.update(values)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.values.update(values)

    def artifact(self, path: Path, folder: str = "") -> None:
        assert path.is_file()
        self.files.append(f"{folder}/{path.name}")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = write_store(tmp_path_factory.mktemp("stage"))
    write_checkpoint(paths)
    return paths


def test_writes_and_logs_the_val_part_only(paths: Paths) -> None:
    log = Kept()
    metrics = evaluate.run(params(baselines=CHEAP), paths, log)
    report = paths.report("evaluate")
    files = {"metrics.json", "headline.json", "confusions.parquet", "overview_one.png", "worst_blocks.png",
             "confusion.png", "curves.png", "class_table.png", "objects.png", "scores_refined.png",
             "scores_unrefined.png", "scores_reference.png"}
    assert {p.name for p in report.iterdir()} == files
    assert json.loads((report / "metrics.json").read_text()) == metrics
    assert metrics["part"] == "val"
    assert not paths.unseal_log.exists()
    assert log.files == sorted(f"evaluate/{name}" for name in files)
    assert "evaluate" in log.settings
    value = metrics["truths"]["reference"]["network"]["accuracy"]["value"]
    assert log.values["val.reference.network.accuracy"] == value
    assert all(np.isfinite(v) for v in log.values.values())


def test_the_same_again_gives_the_same_bytes(paths: Paths) -> None:
    settings, contents = params(baselines=CHEAP), []
    for _ in range(2):
        evaluate.run(settings, paths, SilentLog())
        contents.append({p.name: p.read_bytes() for p in paths.report("evaluate").iterdir()})
    assert contents[0] == contents[1]


def test_a_failure_leaves_the_last_report_as_it_was(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    report = paths.report("evaluate")
    before = {p.name: p.stat().st_mtime_ns for p in report.iterdir()}

    def broken(*_: object) -> None:
        raise ModelError("broken")

    monkeypatch.setattr("pipeline.reporting.evaluate_figures.draw_all", broken)
    with pytest.raises(ModelError):
        evaluate.run(params(baselines=CHEAP), paths, SilentLog())
    assert {p.name: p.stat().st_mtime_ns for p in report.iterdir()} == before
    assert not list(report.parent.glob("*partial*"))


def test_main_answers_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        evaluate.main()
    assert capsys.readouterr().err == ("evaluate: params.yaml must exist in the working folder: not found; "
                                       "run in the project's root\n")
