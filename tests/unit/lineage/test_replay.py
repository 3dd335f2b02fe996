"""What a replay says where there is nothing to run, and where the commit is not the one on record."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.lineage.identify import Identified
from pipeline.lineage.replay import replay
from pipeline.lineage.scratch import Scratch
from pipeline.paths import Paths
from tests.unit.lineage.small_repo import Repo


def identified(repo: Repo) -> Identified:
    return Identified("map.tif", "geotiff", repo.root / "map.tif", "", "", "", repo.statement(), "", None, "")


@pytest.fixture
def committed(tmp_path: Path, small_params: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Repo:
    repo = Repo(tmp_path / "repo", small_params())
    repo.commit()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return repo


def test_without_a_statement_it_cannot_be_told(committed: Repo) -> None:
    report = replay(replace(identified(committed), statement=None), Paths(committed.root), print)
    assert (report.exit_code, report.message.partition(",")[0]) == (3, "map.tif has no statement here")


def test_a_prediction_is_not_built_by_the_pipeline(committed: Repo) -> None:
    found = identified(committed)
    assert found.statement is not None
    report = replay(replace(found, statement=replace(found.statement, kind="prediction")), Paths(committed.root), print)
    assert (report.exit_code, "run `kumulus predict` again" in report.message) == (3, True)


def test_a_changed_copy_that_kept_its_tag_is_contradicted_before_anything_runs(committed: Repo) -> None:
    found = identified(committed)
    assert found.statement is not None
    stated = replace(found.statement, subjects={"map.tif": "a" * 64})
    report = replay(replace(found, sha256="b" * 64, statement=stated), Paths(committed.root), print)
    assert (report.exit_code, report.commit) == (4, "")
    assert "map.tif must be a file that its statement names" in report.message
    committed.write({"pipeline/a.py": "a = 5\n"})  # its own bytes are searched for as before
    assert replay(replace(found, sha256="a" * 64, statement=stated), Paths(committed.root), print).exit_code == 3


def test_without_a_commit_it_says_which_file_is_in_none(committed: Repo) -> None:
    committed.write({"pipeline/a.py": "a = 5\n"})
    report = replay(identified(committed), Paths(committed.root), print)
    assert report.exit_code == 3
    assert report.message.startswith("pipeline/a.py was never committed as this result was made with it")


def test_params_that_only_the_commits_own_schema_tells_apart(committed: Repo, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    found = identified(committed)
    assert found.statement is not None
    threads = found.statement.params["train"]["threads"]
    there = {**found.statement.params, "train": {**found.statement.params["train"], "threads": 7}}
    monkeypatch.setattr(Scratch, "params", lambda self: there)
    said: list[str] = []
    report = replay(found, Paths(committed.root), said.append)
    assert report.exit_code == 3
    assert report.message.startswith("the commit's params.yaml is not the one on record: train.threads was "
                                     f"{threads}, and is 7 there")
    assert said[0].endswith("has this result's code, lock and params")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_stage_that_fails_is_no_contradiction(committed: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    found = identified(committed)
    assert found.statement is not None
    monkeypatch.setattr(Scratch, "params", lambda self: found.statement.params if found.statement else {})
    monkeypatch.setattr(Scratch, "repro", lambda self, targets, stages, say: "train: CUDA is not here")
    report = replay(found, Paths(committed.root), print, keep=True)
    assert (report.exit_code, report.message) == (3, "the stages did not run to their end: train: CUDA is not here")
    assert Path(report.kept).is_dir()
    assert report.text().splitlines()[-1] == f"  kept in {report.kept}"
