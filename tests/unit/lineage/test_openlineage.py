"""OpenLineage events are of the export's stages, also where a prediction is traced."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.lineage.identify import identify
from pipeline.lineage.openlineage import to_openlineage
from pipeline.lineage.tree import Trace, build
from pipeline.paths import Paths
from pipeline.tracking.export_statement import write_statement
from pipeline.tracking.prediction_statement import prediction_statement
from tests.unit.lineage.files import sha256
from tests.unit.lineage.handmade import CARD, Project


def predicted(traced: Project, folder: Path) -> Path:
    """One of two maps that were made of a scene together."""
    folder.mkdir()
    scene, made = folder / "s.tif", [folder / "s_class.md", folder / "s_prob.md"]
    scene.write_bytes(b"scene")
    digest = traced.identified().provenance
    for file in made:
        file.write_text(f"sha256 `{digest}` of `provenance.json`\n{file.name}\n", encoding="utf-8")
    model = {"name": "model_card.md", "sha256": sha256(traced.file(CARD))}
    statement = prediction_statement(scene, model, digest, made, {"bands": []})
    statement["predicate"]["runDetails"]["metadata"]["finishedOn"] = "2031-01-01T00:00:00+00:00"
    write_statement(folder / "s_lineage.json", statement)
    return made[0]


def traced_in(target: Path, root: Path) -> Trace:
    return build(identify(str(target), Paths(root)), Paths(root))


def ends(trace: Trace) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in to_openlineage(trace).splitlines()]
    return {event["job"]["name"]: event for event in found if event["eventType"] == "COMPLETE"}


def test_maps_beside_a_prediction_are_no_outputs_of_export(traced: Project, tmp_path: Path) -> None:
    statement = traced.identified().statement
    assert statement is not None
    export = ends(traced_in(predicted(traced, tmp_path / "predictions"), traced.root))["export"]
    assert "models/export/model_card.md" in {one["name"] for one in export["outputs"]}
    assert not {one["name"] for one in export["outputs"] if "s_" in one["name"]}
    assert export["eventTime"] == statement.finished


def test_the_time_of_a_prediction_is_not_taken_for_that_of_the_export(traced: Project, tmp_path: Path) -> None:
    made = predicted(traced, tmp_path / "predictions")
    shutil.copyfile(traced.paths.export / "provenance.json", made.parent / "provenance.json")
    (tmp_path / "empty").mkdir()
    trace = traced_in(made, tmp_path / "empty")
    assert trace.node("stage:export") is not None
    with pytest.raises(IntegrityError, match=r"there is no lineage\.json of an export"):
        to_openlineage(trace)


def test_the_finished_files_of_an_export_are_its_outputs(traced: Project) -> None:
    export = ends(traced_in(traced.file(CARD), traced.root))["export"]
    assert {f"models/export/{name}" for name in ("model_card.md", "maps/a.qml", "provenance.json")} <= {
        one["name"] for one in export["outputs"]}
