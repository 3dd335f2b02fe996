"""`kumulus ablate` with real experiments of DVC: killed in the middle, run again, with a variant that cannot work."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.e2e.conftest import KUMULUS, Repository, killed_at_the_end, new_repository

DECLARED = {
    "metrics": ["mcc", "iou.water", "objects.informal_settlement.found_share"],
    "changes": {"broken": {"train.network.encoder": "no_such_encoder"}, "abutting": {"evaluate.tiles.overlap_px": 0}},
}
SHORT = {"train.epochs": 1, "train.patches.per_epoch": 4, "evaluate.baselines.boosting": False}


@pytest.fixture
def repo(tmp_path: Path, project: Path, small_params: Callable[..., dict[str, Any]]) -> Repository:
    """A repository in which nothing has run; the declaration lies beside it."""
    with (tmp_path / "quick.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(DECLARED, file)
    (tmp_path / "repository").mkdir()
    made = new_repository(tmp_path / "repository", project, small_params(SHORT), tmp_path / "site")
    made.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"  # nobody answers: seconds saved, runs in the journal
    return made


def records(repo: Repository) -> dict[str, dict[str, Any]]:
    """Variant -> record of those that are finished."""
    found = (repo.root / ".kumulus/ablate/quick").glob("*/record.json")
    return {file.parent.name.rpartition("-")[0]: json.loads(file.read_text(encoding="utf-8")) for file in found}


def kill_in_the_last_variant(repo: Repository) -> None:
    """Start the ablation, and kill it and all it has started while the last variant is scored."""
    said = repo.root.parent / "ablate.log"
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen([*KUMULUS, "ablate", "../quick.yaml"], cwd=repo.root, env=repo.environment,
                                   stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + 600

    def scoring() -> bool:
        logs = (repo.root / ".kumulus/ablate/quick").glob("abutting-*.log")
        return any("> python -m stages.evaluate" in log.read_text(encoding="utf-8") for log in logs)

    with killed_at_the_end(process):
        while not scoring():
            assert process.poll() is None, said.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, said.read_text(encoding="utf-8")
            time.sleep(0.05)


def test_an_ablation_is_killed_and_continues(repo: Repository) -> None:
    kill_in_the_last_variant(repo)
    before = records(repo)
    assert list(before) == ["baseline"]
    assert set(before["baseline"]["stages"]) == {"acquire", "refine_labels", "rasterize", "spatial_split", "train",
                                                 "evaluate"}
    assert repo.call("git", "status", "--porcelain") == ""  # the working folder is as it was

    status, text = repo.kumulus("ablate", "../quick.yaml")
    assert status == 1, text
    assert "1 of 3: baseline, finished before" in text
    assert "FAILED after" in text
    after = records(repo)
    assert after["baseline"] == before["baseline"]
    assert after["abutting"]["stages"] == ["evaluate"]  # data and weights were made once

    report = repo.root / "reports/ablate/quick"
    results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    baseline, broken, abutting = results["variants"]
    assert broken["reason"].startswith("failed: train: ")
    assert "no_such_encoder" in broken["reason"]
    gap = abutting["scores"]["mcc"]
    assert gap["difference"]["value"] == pytest.approx(gap["value"]["value"]
                                                       - baseline["scores"]["mcc"]["value"]["value"])
    assert gap["difference"]["low"] <= gap["difference"]["high"]
    assert {file.name for file in report.iterdir()} == {"table.md", "results.json", "results.csv", "figure.png"}

    assert repo.call("git", "status", "--porcelain").split() == ["??", "reports/"]  # the report is git's
    for name in (baseline["experiment"], abutting["experiment"]):
        assert name in repo.call("dvc", "exp", "list", "--name-only")
    begun = [file.read_text(encoding="utf-8").partition("\n")[0]
             for file in (repo.root / ".kumulus/journal").glob("*-evaluate-*/events.jsonl")]
    assert {json.loads(line)["tags"]["kumulus.ablation"] for line in begun} == {"quick"}
