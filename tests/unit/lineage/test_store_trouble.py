"""Stores that do not answer say why, and one odd name is no trouble for the names after it."""

import subprocess
from pathlib import Path

import pytest

from pipeline.lineage.dvc_store import DvcStore
from pipeline.lineage.git_store import GitStore
from pipeline.lineage.verify import Verdict
from tests.unit.lineage.handmade import WEIGHTS, Project


@pytest.mark.parametrize("name", [":(bad)x", ":(top)dvc.lock", ":!dvc.lock", "*.lock", "[d]vc.lock"])
def test_names_are_no_patterns_for_git(traced: Project, name: str) -> None:
    store = GitStore(traced.root)
    assert list(store.versions(name)) == []
    assert store.trouble == ""
    assert [held.where for held in store.versions("dvc.lock")] == ["HEAD"]


def test_a_file_of_an_odd_name_has_its_versions(traced: Project) -> None:
    traced.file("[d]vc.lock").write_text("old")
    traced.commit()
    traced.file("[d]vc.lock").write_text("new")
    traced.commit()
    assert [held.data for held in GitStore(traced.root).versions("[d]vc.lock")] == [b"new", b"old"]


def test_an_empty_repository_is_no_trouble(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    store = GitStore(tmp_path)
    assert list(store.versions("dvc.lock")) == []
    assert store.trouble == ""


@pytest.mark.parametrize("config", ["[core]\n    nonsense = 1\n", "[bad\n", "\udcff"], ids=["key", "form", "bytes"])
def test_a_broken_configuration_of_dvc_is_named(traced: Project, config: str) -> None:
    assert DvcStore(traced.root).trouble == ""
    traced.file(".dvc/config").write_text(config, errors="surrogateescape")
    assert DvcStore(traced.root).trouble.startswith("DVC's configuration cannot be read: ")
    assert traced.verify().verdict is Verdict.VERIFIED, "what is here is enough"
    traced.cached(WEIGHTS).unlink()
    traced.file(WEIGHTS).unlink()
    report = traced.verify()
    assert report.first_broken is not None
    assert (report.first_broken.node, report.verdict) == (f"file:{WEIGHTS}", Verdict.ABSENT)
    assert "DVC's configuration cannot be read: " in report.first_broken.message


def test_a_statement_that_no_record_has_names_the_broken_configuration(traced: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "lineage.json").write_bytes(traced.file("models/export/lineage.json").read_bytes())
    empty = Project(tmp_path / "empty")
    empty.file(".dvc").mkdir(parents=True)
    empty.file(".dvc/config").write_text("[bad\n")
    report = empty.verify(str(copy / "lineage.json"))
    assert report.first_broken is not None
    assert report.first_broken.node == "statement"
    assert "DVC's configuration cannot be read: " in report.first_broken.message


def test_outside_of_dvc_there_is_no_trouble(tmp_path: Path) -> None:
    assert DvcStore(tmp_path).trouble == ""
