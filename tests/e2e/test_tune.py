"""`kumulus tune` with real trainings: inner folds only, DVC finds nothing changed, and an ordinary build after it."""

import csv
import json
from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.e2e.conftest import Repository, own_copy

#: params.yaml's own rate, 1e-3, is outside: the winner always changes something.
TUNE = "trials: 2\nepochs: 2\nspace: {train.optimizer.lr: {low: 2e-3, high: 8e-3, log: true}}\n"


@pytest.fixture
def copy(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository, which the search may change."""
    return own_copy(repository, tmp_path_factory.mktemp("tuned") / "repository")


def test_a_search_ends_in_an_ordinary_build(copy: Repository, small_params: Callable[..., dict[str, Any]]) -> None:
    (copy.root / "quick.yaml").write_text(TUNE)
    before = copy.call("git", "rev-parse", "HEAD")
    status, text = copy.kumulus("tune", "quick.yaml", "--workers", "2")
    assert status == 0, text
    assert "2 of 2 trials: 2 done, 0 pruned, 0 failed" in text
    (report,) = (copy.root / "reports/tune").iterdir()
    changed = [line[3:] for line in copy.call("git", "status", "--porcelain", "--untracked-files=all").splitlines()]
    assert {name for name in changed if name != "quick.yaml"} == {
        f"reports/tune/{report.name}/{file}"
        for file in ("trials.csv", "best.yaml", "history.png", "importance.png", "results.json")}
    assert copy.stale() == set()
    found = json.loads((report / "results.json").read_text())
    certificate = json.loads((copy.root / "data/splits/certificate.json").read_text())
    assert found["setting"]["sealed_fold"] not in found["setting"]["inner_folds"]
    assert set(found["best"]["fold_scores"]) == {str(fold) for fold in found["setting"]["inner_folds"]}
    assert certificate["val_fold"] == found["setting"]["sealed_fold"]
    status, text = copy.kumulus("tune", "quick.yaml", "--apply")
    assert status == 0, text
    rows = list(csv.DictReader((report / "trials.csv").read_text().splitlines()))
    best = max(rows, key=lambda row: float(row["score"]))
    params = YAML(typ="safe").load(copy.root / "params.yaml")
    assert params["train"]["optimizer"]["lr"] == float(best["train.optimizer.lr"])
    assert {"train", "evaluate", "export"} <= copy.stale() <= {"train", "evaluate", "export"}
    status, text = copy.kumulus("tune", "quick.yaml", "--status")
    assert status == 0, text
    assert "2 of 2 trials: 2 done" in text
    assert copy.call("git", "rev-parse", "HEAD") == before
