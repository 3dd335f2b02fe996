"""What verification says of a predicted map: it leads into the build of its model."""

import hashlib
import shutil
from pathlib import Path

import pytest

from pipeline.lineage.verify import Verdict
from tests.unit.lineage.handmade import CARD, WEIGHTS, Project, make_project
from tests.unit.lineage.test_verify import flip, named


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("made") / "project").root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    root = tmp_path / "project"
    shutil.copytree(template, root)
    return Project(root)


def predicted(project: Project, folder: Path) -> Path:
    """A map of a scene with the project's model, in a folder of its own."""
    from pipeline.tracking.export_statement import write_statement
    from pipeline.tracking.prediction_statement import prediction_statement

    folder.mkdir()
    scene, made = folder / "s.tif", folder / "s_class.md"
    scene.write_bytes(b"scene")
    digest = project.identified().provenance
    made.write_text(f"sha256 `{digest}` of `provenance.json`\n", encoding="utf-8")
    model = {"name": "model_card.md", "sha256": hashlib.sha256(project.file(CARD).read_bytes()).hexdigest()}
    write_statement(folder / "s_lineage.json", prediction_statement(scene, model, digest, [made], {"bands": []}))
    return made


def test_a_prediction_leads_into_the_build_of_its_model(project: Project, tmp_path: Path) -> None:
    made = predicted(project, tmp_path / "predictions")
    report = project.verify(str(made))
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert {"model", "scene", f"file:{WEIGHTS}"} <= set(report.node_verdicts())
    flip(project.file(WEIGHTS))
    assert named(project.verify(str(made))) == [(f"file:{WEIGHTS}", "workspace")]
    flip(project.file(WEIGHTS))
    made.write_text(made.read_text() + "x", encoding="utf-8")
    assert [node for node, _ in named(project.verify(str(made)))] == ["subject"]


def test_a_prediction_without_its_scene_or_model_is_unverifiable(project: Project, tmp_path: Path) -> None:
    made = predicted(project, tmp_path / "predictions")
    (made.parent / "s.tif").unlink()
    report = project.verify(str(made))
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == "scene"
    (tmp_path / "empty").mkdir()
    report = Project(tmp_path / "empty").verify(str(made))
    assert {link.node for link in report.links if link.is_broken} == {"scene", "model", "provenance"}
