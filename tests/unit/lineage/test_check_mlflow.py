"""Tags of MLflow that were changed, deleted or made up: each is named, and none hides another."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.digests import LOCK_FILE, canonical_sha256, file_sha256, stage_code, stage_params
from pipeline.lineage.check_mlflow import _deps
from pipeline.lineage.verdicts import Link
from pipeline.lineage.verify import Verdict
from pipeline.params.load import load
from pipeline.tracking.journal import Journal
from pipeline.tracking.models import register_onnx
from pipeline.tracking.sender import sync
from tests.unit.lineage.files import sha256
from tests.unit.lineage.handmade import Project, make_project
from tests.unit.lineage.small_export import write_onnx

PARENT, PROVENANCE = "mlflow.parentRunId", "kumulus.provenance"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose training, export and model are in MLflow, as the stages send them."""
    made = make_project(tmp_path_factory.mktemp("made") / "project")
    digest = sha256(made.paths.export / "provenance.json")
    Journal.create(made.paths.journal, "k1", "train", "training", tags(made, "train")).close("FINISHED")
    export = Journal.create(made.paths.journal, "k1", "export", "export", {**tags(made, "export"), PROVENANCE: digest})
    for name in ("provenance.json", "lineage.json"):
        export.artifact(made.paths.export / name, "export")
    write_onnx(made.root / "model.onnx", {})
    register_onnx(export, made.root / "model.onnx", "m", ["blue"], ["a"], {PROVENANCE: digest})
    export.close("FINISHED")
    assert {one.outcome for one in sync(made.paths)} == {"delivered"}
    return made.root


def tags(made: Project, stage: str) -> dict[str, str]:
    """As `tracking.identity` writes them, of the project's own code."""
    plain = load(made.paths.params_file).dump()
    return {"kumulus.seed": str(plain["seed"]), "kumulus.lock_sha256": file_sha256(made.root / LOCK_FILE),
            "kumulus.params_sha256": canonical_sha256(stage_params(made.root, stage, plain)),
            "kumulus.code_sha256": canonical_sha256(stage_code(made.root, stage))}


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    root = tmp_path / "project"
    shutil.copytree(template, root)
    return Project(root)


def write(project: Project, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(project.root / "mlflow.db")) as base, base:
        assert base.execute(statement, values).rowcount >= 1


def told(project: Project) -> list[Link]:
    """What MLflow contradicts."""
    report = project.verify()
    assert [link for link in report.links if link.verdict is Verdict.VERIFIED and link.place.startswith("MLflow")]
    return list(report.of(Verdict.CONTRADICTED))


def test_untouched_tags_hold(project: Project) -> None:
    assert told(project) == []


@pytest.mark.parametrize("parent", ["0" * 32, "x' or '1' = '1", "bogus"])
def test_a_made_up_parent_is_named_and_hides_nothing(project: Project, parent: str) -> None:
    write(project, "update tags set value = ? where key = ?", parent, PARENT)
    write(project, "update tags set value = 'x' where key = ?", PROVENANCE)
    assert [link.name for link in told(project)] == [f"tag {PARENT}", f"tag {PROVENANCE}"]


@pytest.mark.parametrize("tag", ["kumulus.seed", "kumulus.code_sha256", "kumulus.lock_sha256", "kumulus.params_sha256",
                                 PROVENANCE])
def test_a_deleted_tag_of_a_run_is_named(project: Project, tag: str) -> None:
    write(project, "delete from tags where key = ?", tag)
    found = told(project)
    assert {(link.node, link.name) for link in found} == {("run", f"tag {tag}")}
    assert len(found) == (1 if tag == PROVENANCE else 2), "of the training and of the export"
    assert "it is not there" in found[0].message


@pytest.mark.parametrize("tag", ["kumulus.run_key", "kumulus.stage"])
def test_an_export_that_no_longer_says_so_is_found_by_its_training(project: Project, tag: str) -> None:
    write(project, "delete from tags where key = ? and run_uuid in (select run_uuid from tags where key = ?)", tag,
          PROVENANCE)
    assert {link.name for link in told(project)} == {f"tag {tag}"}


@pytest.mark.parametrize("change", ["update model_version_tags set value = 'x' where key like 'kumulus.%'",
                                    "delete from model_version_tags"])
def test_changed_and_deleted_tags_of_a_version_are_found_by_its_run(project: Project, change: str) -> None:
    write(project, change)
    assert {(link.node, link.name) for link in told(project)} == {
        ("model_version:m/1", f"tag {PROVENANCE}"), ("model_version:m/1", "tag kumulus.run_key")}


def test_data_tags_are_those_of_the_deps_on_record(project: Project) -> None:
    stated = project.identified().statement
    assert stated is not None
    known = {resource.name: resource.sha256 for resource in stated.of_kind("artifact", "file")}
    deps = ["data/scenes", "data/raw", "reports/evaluate/metrics.json", "requirements.lock", "${acquire.inputs}"]
    assert _deps({"deps": deps}, stated) == {"scenes": known["data/scenes"], "raw": known["data/raw"],
                                             "metrics.json": known["reports/evaluate/metrics.json"]}
    assert _deps({"deps": ["data/labels", "data/raw/labels.gpkg", "data/labels/labels.gpkg"]}, stated).keys() == {
        "labels", "data_raw_labels.gpkg", "data_labels_labels.gpkg"}
