"""`dvc repro` end to end on a small synthetic scene: everything is made, and only what is stale is made again."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.paths import Paths
from tests.e2e.conftest import Repository, own_copy

ALL = {"acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate", "export"}


@pytest.fixture(scope="module")
def repository(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy, since stages run in it."""
    return own_copy(repository, tmp_path_factory.mktemp("rerun") / "project")


@pytest.fixture
def repo(repository: Repository) -> Iterator[Repository]:
    """The copy after its first run; what a test edits is taken back."""
    yield repository
    repository.restore()


def test_every_artifact_is_there(repo: Repository) -> None:
    paths = Paths(repo.root)
    for file in (paths.catalog, paths.labels / "ledger.parquet", paths.scenes / "manifest.json",
                 paths.splits / "certificate.json", paths.checkpoint / "members/0/weights.safetensors", paths.run_file,
                 paths.report("evaluate") / "metrics.json", paths.report("evaluate") / "confusions.parquet",
                 paths.export / "model.onnx", paths.export / "maps/synthetic_class.tif",
                 paths.export / "provenance.json", paths.export / "lineage.json"):
        assert file.is_file(), file
    assert set(repo.lock()) == ALL


def test_nothing_is_left_half_written_or_untracked(repo: Repository) -> None:
    assert not [path for pattern in ("*.partial", ".*.partial.*") for path in repo.root.rglob(pattern)]
    assert not list((repo.root / ".checkpoints").glob("[!.]*/*"))
    assert repo.call("git", "status", "--porcelain") == ""


def runs(database: Path, tag: str = "kumulus.stage") -> set[tuple[str, str]]:
    """Value of the tag, and status, of every run that has it."""
    with closing(sqlite3.connect(database)) as connection:
        return set(connection.execute(
            "select value, status from tags join runs using (run_uuid) where key = ?", (tag,)).fetchall())


def test_runs_are_in_mlflow(repo: Repository) -> None:
    stages = {stage for stage, status in runs(repo.root / "mlflow.db") if status == "FINISHED"}
    assert stages >= {"train", "evaluate", "export"}


def test_again_runs_nothing(repo: Repository) -> None:
    output = repo.call("dvc", "repro")
    assert "Running stage" not in output
    assert repo.call("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(("changes", "expected"), [
    ({"train.optimizer.lr": 5e-4}, {"train", "evaluate", "export"}),
    ({"evaluate.bootstrap.resamples": 101}, {"evaluate", "export"}),
    ({"export.registered_name": "other"}, {"export"}),
    ({"spatial_split.buffer_m": 30}, {"spatial_split", "train", "evaluate", "export"}),
], ids=["train", "evaluate", "export", "split"])
def test_params_make_stale_what_reads_them(repo: Repository, changes: dict[str, Any], expected: set[str]) -> None:
    repo.set_params(changes)
    assert repo.stale() == expected


@pytest.mark.parametrize(("file", "expected"), [
    ("pipeline/exporters/polygons.py", {"export"}),
    ("pipeline/tracking/runs.py", set()),
    ("pipeline/tracking/store.py", set()),
    ("pipeline/losses/dice.py", {"train", "evaluate", "export"}),
    ("pipeline/params/refine_labels.py", ALL - {"acquire"}),
    ("inputs/README.md", ALL),
    ("pipeline/cli.py", set()),
])
def test_edits_make_stale_what_can_import_them(repo: Repository, file: str, expected: set[str]) -> None:
    with (repo.root / file).open("a", encoding="utf-8") as handle:
        handle.write("\n# edited\n")
    assert repo.stale() == expected


def test_forced_run_gives_equal_bytes(repo: Repository) -> None:
    before = repo.lock()
    repo.call("dvc", "repro", "--force", "--single-item", "train", "evaluate")
    after = repo.lock()
    repo.call("git", "checkout", "--quiet", "dvc.lock")
    for stage in ("train", "evaluate"):
        for old, new in zip(before[stage]["outs"], after[stage]["outs"], strict=True):
            if old["path"] != "models/run.json":  # the run's own key
                assert old["md5"] == new["md5"], old["path"]
    repo.call("dvc", "checkout")


def test_preparation_is_deterministic(repo: Repository) -> None:
    before = repo.lock()
    repo.call("dvc", "repro", "--force", "spatial_split")
    assert repo.lock() == before


def test_experiment_in_a_copy_leaves_its_run_in_the_real_store(repo: Repository) -> None:
    output = repo.call("dvc", "exp", "run", "--temp", "--name", "named", "--set-param", "export.registered_name=named")
    assert "Running stage 'export'" in output
    assert "Running stage 'train'" not in output
    shown = json.loads(repo.call("dvc", "exp", "show", "--json"))
    assert "named" in json.dumps(shown)
    assert ("named", "FINISHED") in runs(repo.root / "mlflow.db", "kumulus.dvc_experiment")
    assert repo.call("git", "status", "--porcelain") == ""
