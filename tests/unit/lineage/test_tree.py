"""The graph behind a result, and how it is told: text, PROV, OpenLineage."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from prov.model import ProvDocument, ProvGeneration, ProvUsage

from pipeline.digests import folder_sha256
from pipeline.errors import IntegrityError
from pipeline.lineage.identify import identify
from pipeline.lineage.openlineage import events, to_openlineage
from pipeline.lineage.prov import to_prov
from pipeline.lineage.text import show
from pipeline.lineage.tree import Trace, build
from pipeline.paths import Paths
from tests.unit.lineage.files import sha256
from tests.unit.lineage.small_export import RUN_KEY, md5, oid, write_prediction


def _trace(root: Path, name: str = "models/export/maps/a_class.tif") -> Trace:
    return build(identify(str(root / name), Paths(root)), Paths(root))


def _text(root: Path, name: str = "models/export/maps/a_class.tif", **options: Any) -> str:
    identified, out = identify(str(root / name), Paths(root)), io.StringIO()
    show(build(identified, Paths(root)), identified, out, **options)
    return out.getvalue()


def test_the_graph_leads_from_the_map_to_the_sources(root: Path) -> None:
    trace = _trace(root)
    for edge in (("subject", "stage:export", "made by"), ("stage:export", "artifact:models/checkpoint", "reads"),
                 ("artifact:models/checkpoint", "stage:train", "made by"),
                 ("stage:train", "artifact:data/scenes", "reads"),
                 ("artifact:data/scenes", "stage:rasterize", "made by"),
                 ("stage:rasterize", "artifact:data/raw", "reads"),
                 ("artifact:data/raw", "stage:acquire", "made by"),
                 ("stage:acquire", "source:data/raw/scenes/a.tif", "fetched"),
                 ("file:data/raw/scenes/a.tif", "source:data/raw/scenes/a.tif", "has the bytes of"),
                 ("stage:train", "code:pipeline/b.py", "runs"), ("stage:train", "lock", "reads"),
                 ("stage:train", "ancestor:0", "started from"), ("statement", "run", "states"),
                 ("statement", "subject:model.onnx", "names")):
        assert edge in trace.edges
    assert ("stage:export", "code:pipeline/b.py", "runs") not in trace.edges
    ids = [node.id for node in trace.nodes]
    assert len(ids) == len(set(ids))
    assert {end for _, end, _ in trace.edges} | {start for start, _, _ in trace.edges} <= set(ids)


def test_nodes_hold_what_the_statement_says(root: Path) -> None:
    trace = _trace(root)
    facts = {node.id: node.facts for node in trace.nodes}
    assert facts["source:data/raw/scenes/a.tif"]["from"] == "https://h.test/a.tif"
    assert facts["source:data/raw/scenes/a.tif"]["licence"] == "CC-BY-4.0"
    assert facts["code:pipeline/a.py"]["stages"] == "train, export"
    assert facts["params"] == {"seed": "1", "train.epochs": "3"}
    assert facts["environment:train"]["libraries.torch"] == "2.0"
    assert facts["run"]["key"] == RUN_KEY
    assert facts["statement"]["commit"] == "9" * 40
    assert facts["statement"]["tree"] == "as committed"
    assert facts["unsealing:0"]["look"] == "1"
    assert facts["ancestor:0"]["from"] == "runs:/1"
    assert facts["artifact:models/checkpoint"]["md5"] == oid(root / "models/checkpoint")


def test_without_a_statement_provenance_gives_the_same_way_back(root: Path) -> None:
    (root / "models/export/lineage.json").unlink()
    trace = _trace(root)
    for edge in (("subject", "stage:export", "made by"), ("artifact:models/checkpoint", "stage:train", "made by"),
                 ("stage:acquire", "source:data/raw/scenes/a.tif", "fetched"),
                 ("stage:train", "code:pipeline/a.py", "runs")):
        assert edge in trace.edges
    assert trace.node("params").facts["train.epochs"] == "3"  # type: ignore[union-attr]
    assert trace.node("run") is None
    assert trace.missing[0].startswith("lineage.json of the build")


def test_weights_are_a_part_of_their_build_and_not_made_by_export(root: Path) -> None:
    trace = _trace(root, "models/checkpoint/members/0/weights.safetensors")
    assert ("subject", "file:models/checkpoint/members/0/weights.safetensors", "is") in trace.edges
    assert not any(start == "subject" and how == "made by" for start, _, how in trace.edges)


def test_a_prediction_leads_over_its_model_to_the_sources(root: Path, tmp_path: Path) -> None:
    export = root / "models/export"
    file = write_prediction(tmp_path, sha256(export / "model.onnx"), sha256(export / "provenance.json"))
    trace = build(identify(str(file), Paths(root)), Paths(root))
    for edge in (("subject", "scene", "made from"), ("subject", "model", "made by"),
                 ("model", "stage:export", "made by"), ("model", "statement:model", "named by")):
        assert edge in trace.edges
    assert trace.node("settings").facts == {"zeros": "data"}  # type: ignore[union-attr]
    assert trace.node("params").facts["seed"] == "1"  # type: ignore[union-attr]


def test_where_each_result_came_about_is_told_in_its_repository(root: Path) -> None:
    assert any("no dvc.yaml is here" in text for text in _trace(root).missing)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / ".kumulus").mkdir()
    lines = [{"stage": "train", "outs": {"models/checkpoint": oid(root / "models/checkpoint")}},
             {"stage": "rasterize", "outs": {"data/scenes": oid(root / "data/scenes")}},
             {"stage": "rasterize", "outs": {"data/scenes": "other.dir"}}]
    (root / ".kumulus/computed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    origins = {"acquire": "pulled", "rasterize": "computed here", "train": "computed here", "export": None}
    assert _origins(root) == origins, "nothing says that the scenes are in the workspace again"
    locked = ("  rasterize:\n    outs:\n    - path: data/scenes\n      hash: md5\n"
              f"      md5: {oid(root / 'data/scenes')}\n")
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{locked}")
    assert _origins(root) == origins | {"rasterize": "restored"}


def _origins(root: Path) -> dict[str, str | None]:
    return {node.label: node.facts.get("origin") for node in _trace(root).nodes if node.kind == "stage"}


def test_exports_own_result_is_the_folder_in_dvc_that_holds_this_statement(root: Path) -> None:
    (root / "dvc.yaml").write_text("stages: {}\n")
    export, cache = root / "models/export", root / ".dvc/cache/files/md5"
    digest = oid(export)
    (root / "dvc.lock").write_text(f"stages: {{export: {{outs: [{{path: models/export, md5: {digest}}}]}}}}\n")
    assert "origin" not in _trace(root).node("stage:export").facts  # type: ignore[union-attr]  # the cache is empty
    entries = [{"md5": md5(path), "relpath": path.relative_to(export).as_posix()}
               for path in sorted(export.rglob("*")) if path.is_file()]
    (cache / digest[:2]).mkdir(parents=True)
    (cache / digest[:2] / digest[2:]).write_text(json.dumps(entries))
    for entry in entries:
        (cache / entry["md5"][:2]).mkdir(exist_ok=True)
        shutil.copyfile(export / entry["relpath"], cache / entry["md5"][:2] / entry["md5"][2:])
    assert _trace(root).node("stage:export").facts["origin"] == "pulled"  # type: ignore[union-attr]
    statement = json.loads((export / "lineage.json").read_text())
    statement["predicate"]["runDetails"]["metadata"]["finishedOn"] = "2026-01-02T03:04:05+00:00"
    (export / "lineage.json").write_text(json.dumps(statement))
    assert "origin" not in _trace(root).node("stage:export").facts  # type: ignore[union-attr]  # another export


def test_the_text_fits_its_columns_and_counts_code(root: Path) -> None:
    text = _text(root)
    assert max(map(len, text.splitlines())) <= 80
    for part in ("GeoTIFF", "known as maps/a_class.tif", "classes: background, water", f"run {RUN_KEY}",
                 "commit " + "9" * 40, "look 1 at the test part", "ran 2 files of code", "ran 1 file of code",
                 "read data/scenes", "made models/checkpoint, 2 files", "licence", "seed 1, 2 values"):
        assert part in text
    assert "pipeline/a.py" not in text
    assert "pipeline/a.py" in _text(root, code=True)
    stages = [text.index(f"── {stage}") for stage in ("export", "train", "rasterize", "acquire")]
    assert stages == sorted(stages)


def test_marks_stand_at_their_lines_and_a_folded_contradiction_is_not_lost(root: Path) -> None:
    marks = {"code:pipeline/a.py": "verified", "code:pipeline/b.py": "contradicted", "params": "verified",
             "file:data/raw/labels.gpkg": "contradicted", "artifact:data/raw": "verified"}
    lines = _text(root, marks=marks).splitlines()
    assert sum("[contradicted]" in line for line in lines) == 2
    assert any("ran 2 files of code  [contradicted]" in line for line in lines)
    assert any("ran 1 file of code  [verified]" in line for line in lines)
    assert any("made data/raw" in line and "[contradicted]" in line for line in lines)


def test_prov_is_read_back_by_its_library(root: Path) -> None:
    text = to_prov(_trace(root))
    document = ProvDocument.deserialize(content=text, format="json")
    assert ProvDocument.deserialize(content=document.serialize(format="json"), format="json") == document
    generated = {tuple(str(value) for _, value in record.formal_attributes[:2])
                 for record in document.get_records(ProvGeneration)}
    assert ("kumulus:subject", "kumulus:stage/export") in generated
    used = {tuple(str(value) for _, value in record.formal_attributes[:2])
            for record in document.get_records(ProvUsage)}
    assert ("kumulus:stage/acquire", "kumulus:source/data/raw/scenes/a.tif") in used
    assert text == to_prov(_trace(root))


def test_openlineage_has_a_start_and_an_end_a_stage(root: Path) -> None:
    found = [json.loads(line) for line in to_openlineage(_trace(root)).splitlines()]
    assert [(event["job"]["name"], event["eventType"]) for event in found] == [
        (stage, state) for stage in ("acquire", "rasterize", "train", "export") for state in ("START", "COMPLETE")]
    ends = {event["job"]["name"]: event for event in found if event["eventType"] == "COMPLETE"}
    assert [(d["namespace"], d["name"]) for d in ends["acquire"]["inputs"]] == [("https://h.test", "a.tif")]
    assert [d["name"] for d in ends["train"]["outputs"]] == ["models/checkpoint"]
    assert {"models/export/maps/a_class.tif", "models/export/model.onnx"} <= {
        d["name"] for d in ends["export"]["outputs"]}
    assert ends["train"]["inputs"][0]["facets"]["version"]["datasetVersion"] == (
        folder_sha256(root / "data/scenes"))
    assert {event["producer"] for event in found} == {"urn:kumulus"}
    assert len({event["run"]["runId"] for event in found}) == 4
    assert {event.eventTime for event in events(_trace(root))} == {"2025-01-02T03:04:05+00:00"}


def test_openlineage_of_a_map_alone_says_what_is_missing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copyfile(root / "models/export/model.onnx", tmp_path / "alone/m.onnx")
    trace = build(identify(str(tmp_path / "alone/m.onnx"), Paths(tmp_path / "alone")), Paths(tmp_path / "alone"))
    with pytest.raises(IntegrityError, match=r"lineage\.json of the build"):
        to_openlineage(trace)
    assert ProvDocument.deserialize(content=to_prov(trace), format="json").get_records()


def test_to_json_is_plain_and_whole(root: Path) -> None:
    trace = _trace(root)
    plain = json.loads(json.dumps(trace.to_json()))
    assert plain["root"] == "subject"
    assert len(plain["nodes"]) == len(trace.nodes)
    assert len(plain["edges"]) == len(trace.edges)
