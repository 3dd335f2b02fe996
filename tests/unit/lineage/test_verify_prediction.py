"""What verification says of a predicted map: it leads into the build of its model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import create
from pipeline.lineage.tree import build
from pipeline.lineage.verify import Verdict, verify
from pipeline.paths import write_json
from pipeline.types import Window
from tests.unit.lineage.files import flip, sha256
from tests.unit.lineage.handmade import CARD, WEIGHTS, Project, named


def predicted(traced: Project, folder: Path) -> Path:
    """A map of a scene with the project's model, in a folder of its own."""
    from pipeline.tracking.export_statement import write_statement
    from pipeline.tracking.prediction_statement import prediction_statement

    folder.mkdir()
    scene, made = folder / "s.tif", folder / "s_class.md"
    scene.write_bytes(b"scene")
    digest = traced.identified().provenance
    made.write_text(f"sha256 `{digest}` of `provenance.json`\n", encoding="utf-8")
    model = {"name": "model_card.md", "sha256": sha256(traced.file(CARD))}
    write_statement(folder / "s_lineage.json", prediction_statement(scene, model, digest, [made], {"bands": []}))
    return made


def test_a_prediction_leads_into_the_build_of_its_model(traced: Project, tmp_path: Path) -> None:
    made = predicted(traced, tmp_path / "predictions")
    report = traced.verify(str(made))
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert {"model", "scene", f"file:{WEIGHTS}"} <= set(report.node_verdicts())
    flip(traced.file(WEIGHTS))
    assert named(traced.verify(str(made))) == [(f"file:{WEIGHTS}", "workspace")]
    flip(traced.file(WEIGHTS))
    made.write_text(made.read_text() + "x", encoding="utf-8")
    assert [node for node, _ in named(traced.verify(str(made)))] == ["subject"]


def test_a_prediction_without_its_scene_or_model_is_unverifiable(traced: Project, tmp_path: Path) -> None:
    made = predicted(traced, tmp_path / "predictions")
    (made.parent / "s.tif").unlink()
    report = traced.verify(str(made))
    assert report.verdict is Verdict.ABSENT
    assert report.first_broken is not None
    assert report.first_broken.node == "scene"
    (tmp_path / "empty").mkdir()
    report = Project(tmp_path / "empty").verify(str(made))
    assert {link.node for link in report.links if link.is_broken} == {"scene", "model", "provenance"}


def tampered(traced: Project, folder: Path) -> Path:
    """A map by a model that carries the build's tags and is none of its finished files."""
    made = predicted(traced, folder)
    lineage, own = folder / "s_lineage.json", sha256(traced.file(CARD))
    mine = folder / "mine.md"
    mine.write_bytes(traced.file(CARD).read_bytes() + b"weights scaled\n")
    raw = json.loads(lineage.read_text())
    (entry,) = [e for e in raw["predicate"]["buildDefinition"]["resolvedDependencies"] if e["digest"]["sha256"] == own]
    entry |= {"name": "mine.md", "digest": {"sha256": sha256(mine)}}
    write_json(lineage, raw)
    return made


def test_a_model_that_only_carries_the_tags_of_a_build_is_named(traced: Project, tmp_path: Path) -> None:
    report = traced.verify(str(tampered(traced, tmp_path / "predictions")))
    assert [node for node, _ in named(report)] == ["model"]
    assert "mine.md" in report.first_broken.message if report.first_broken else False


def test_a_renamed_model_is_found_by_its_bytes(traced: Project, tmp_path: Path) -> None:
    made = predicted(traced, tmp_path / "predictions")
    lineage = made.parent / "s_lineage.json"
    lineage.write_text(lineage.read_text().replace('"model_card.md"', '"provenance.json"'))  # a name of another file
    report = traced.verify(str(made))
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert {link.place for link in report.links if link.node == "model" and link.verdict is Verdict.VERIFIED} == {
        "workspace", "DVC's cache"}


@pytest.mark.parametrize(("kinds", "holds"), [
    ((), False), (("model",), False), (("scene",), False), (("model", "model", "scene"), False),
    (("model", "scene"), True), (("model", "scene", "scene"), True)])
def test_a_prediction_has_one_model_and_a_scene(
    traced: Project, tmp_path: Path, kinds: tuple[str, ...], holds: bool
) -> None:
    made = predicted(traced, tmp_path / "predictions")
    lineage, raw = made.parent / "s_lineage.json", json.loads((made.parent / "s_lineage.json").read_text())
    definition = raw["predicate"]["buildDefinition"]
    entries = {entry["annotations"]["kind"]: entry for entry in definition["resolvedDependencies"]}
    chosen = []
    for number, kind in enumerate(kinds):  # two of a kind have two names
        entry = entries[kind] | ({"name": "again"} if kind in kinds[:number] else {})
        (made.parent / entry["name"]).write_bytes(traced.file(CARD).read_bytes() if kind == "model" else b"scene")
        chosen.append(entry)
    definition["resolvedDependencies"] = chosen
    write_json(lineage, raw)
    report = traced.verify(str(made))
    assert report.verdict is (Verdict.VERIFIED if holds else Verdict.CONTRADICTED), report.first_broken
    assert holds or "statement" in {link.node for link in report.of(Verdict.CONTRADICTED)}


@pytest.mark.parametrize(("carried", "verdict"), [("own", Verdict.VERIFIED), ("0" * 64, Verdict.CONTRADICTED),
                                                  ("", Verdict.CONTRADICTED)])
def test_the_maps_own_tag_names_the_model_too(traced: Project, tmp_path: Path, carried: str, verdict: Verdict) -> None:
    made = predicted(traced, tmp_path / "predictions")
    own = sha256(traced.file(CARD))
    facts = {"model sha256": own if carried == "own" else carried}
    found = replace(traced.identified(str(made)), kind="geotiff", facts=facts)
    report = verify(found, traced.paths, progress=False)
    assert report.verdict is verdict, report.first_broken
    assert [link.node for link in report.of(Verdict.CONTRADICTED)] == ([] if carried == "own" else ["model"])


def test_the_maps_beside_a_statement_are_asked_for_their_tags(traced: Project, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    predicted(traced, folder)
    lineage = folder / "s_lineage.json"
    digest = traced.identified().provenance
    written, before = folder / "s_map.tif", json.loads(lineage.read_text())
    grid = Grid("", Affine(10, 0, 0, 0, -10, 0), 4, 4)
    own = sha256(traced.file(CARD))
    for model, wrong in ((own, 0), ("0" * 64, 1)):
        tags = {"KUMULUS_PROVENANCE": digest, "KUMULUS_MODEL": model}
        with create(written, grid, "uint8", ["class"], 255, tags) as target:
            target.write(np.ones((4, 4), dtype=np.uint8), Window(0, 0, 4, 4))
        entry = {"name": "s_map.tif", "digest": {"sha256": sha256(written)}}
        write_json(lineage, before | {"subject": [*before["subject"], entry]})
        assert named(traced.verify(str(lineage))) == [("model", str(written))] * wrong


def test_every_link_is_of_a_node_of_the_trace(traced: Project, tmp_path: Path) -> None:
    identified = traced.identified(str(predicted(traced, tmp_path / "predictions")))
    nodes = {node.id for node in build(identified, traced.paths).nodes}
    links = {link.node for link in verify(identified, traced.paths, progress=False).links}
    assert "statement:model" in links
    assert links <= nodes
