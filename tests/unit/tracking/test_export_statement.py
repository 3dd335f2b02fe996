"""The statement of an export names all it was made of, and no place on this machine."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.digests import folder_sha256, path_sha256
from pipeline.errors import IntegrityError
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tracking.export_statement import export_statement, unsealings, write_statement
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.provenance import STAGES
from pipeline.tracking.statement import Resource, Statement, parse, read

OUTS = {"acquire": ["data/raw", "reports/acquire"], "refine_labels": ["data/labels"], "rasterize": ["data/scenes"],
        "spatial_split": ["data/splits"], "train": ["models/checkpoint", "models/run.json"],
        "evaluate": ["reports/evaluate"], "export": ["models/export"]}

#: Digests of provenance.json and of sources.
AB, S5E = "ab" * 32, "5e" * 32


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def params(**acquire: Any) -> Params:
    return Params({"seed": 1, "acquire": acquire, "export": {"registered_name": "town"},
                   "task": {"bands": ["red"], "background": "a", "classes": [
                       {"name": "a", "color": "#000000"}, {"name": "b", "color": "#ffffff"}]}})


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project that has come as far as export, with a folder of two finished files."""
    paths, entry = Paths(tmp_path), {"href": "inputs/a.tif", "sha256": S5E, "licence": "CC0", "time": "2020"}
    files = {f"{out}/file.txt": out for outs in OUTS.values() for out in outs if out != "models/run.json"}
    catalog = {"scenes": [{"file": "scenes/a.tif", **entry}], "labels": {"file": "labels.gpkg", **entry},
               "reference": None, "assets": [{"id": "item", "role": "red", **entry}]}
    for name, text in {**files, "code.py": "one", "more.py": "two", "requirements.lock": "lock",
                       "data/raw/catalog.json": json.dumps(catalog), "inputs/a.tif": "mine",
                       "models/checkpoint/members/0/model.json": '{"warm_start": "5a"}',
                       "models/run.json": '{"key": "k1", "environment": {"device": "cpu"}}',
                       "reports/acquire/environment.json": '{"cpu": "old"}',
                       "models/export/maps/a.tif": "map", "models/export/model.onnx": "model",
                       "dvc.yaml": json.dumps({"stages": {
                           stage: {"cmd": "x", "outs": OUTS[stage], "deps": ["code.py", "requirements.lock", *(
                               ["more.py"] if stage == "train" else [])]} for stage in STAGES}})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "models/export/file.txt").unlink()
    return paths


def stated(paths: Paths, **acquire: Any) -> Statement:
    return parse(export_statement(paths.export, AB, params(**acquire), paths, paths.root))


def named(found: Statement, *kinds: str) -> dict[str, Resource]:
    return {resource.name: resource for resource in found.of_kind(*kinds)}


def test_names_the_finished_files_and_their_statement(paths: Paths) -> None:
    found = stated(paths)
    assert found.kind == "export"
    assert found.subjects == {"maps/a.tif": sha256("map"), "model.onnx": sha256("model")}
    assert (found.provenance, found.params, found.registered_model) == (AB, params().dump(), "town")
    raw = found.raw["predicate"]
    assert raw["buildDefinition"]["internalParameters"]["warm_start"] == {"0": "5a"}
    assert raw["runDetails"]["builder"]["id"] == "urn:kumulus"
    assert raw["runDetails"]["metadata"]["invocationId"] == "k1"
    assert raw["runDetails"]["byproducts"] == [
        {"name": "models/run.json", "digest": {"sha256": path_sha256(paths.run_file)}}]
    write_statement(paths.export / "lineage.json", found.raw)
    assert read(paths.export / "lineage.json") == found


def test_names_every_artifact_but_the_export_and_each_file_in_it(paths: Paths) -> None:
    found = stated(paths)
    artifacts, files = named(found, "artifact"), named(found, "file")
    assert {name: r.stages for name, r in artifacts.items()} == {
        out: (stage,) for stage, outs in OUTS.items() for out in outs if stage != "export"}
    for name, resource in artifacts.items():
        whole = artifact_digests(paths.root / name, paths.root)
        assert (resource.md5, resource.sha256) == (whole.oid, path_sha256(paths.root / name))
    assert artifacts["data/labels"].md5.endswith(".dir")
    md5 = hashlib.md5(b"data/labels").hexdigest()
    assert files["data/labels/file.txt"] == Resource("data/labels/file.txt", "file", sha256("data/labels"), md5,
                                                     artifact="data/labels")
    assert {r.artifact for r in files.values()} == set(artifacts) - {"models/run.json"}


def test_names_sources_and_what_of_a_network_they_were_made_of(paths: Paths) -> None:
    found = stated(paths)
    assert found.of_kind("source") == (
        Resource("data/raw/scenes/a.tif", "source", S5E, uri="inputs/a.tif", licence="CC0"),
        Resource("data/raw/labels.gpkg", "source", S5E, uri="inputs/a.tif", licence="CC0"))
    assert found.of_kind("asset") == (Resource("item:red", "asset", S5E, uri="inputs/a.tif", licence="CC0"),)


def test_names_the_users_own_files_wherever_they_lie(paths: Paths, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, file = stated(paths).of_kind("input")
    assert (folder.name, folder.sha256) == ("inputs", folder_sha256(paths.root / "inputs"))
    assert (file.name, file.sha256, file.artifact) == ("inputs/a.tif", sha256("mine"), "inputs")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "b.tif").write_text("yours")
    assert [r.name for r in stated(paths, inputs=str(elsewhere)).of_kind("input")] == ["inputs:", "inputs:/b.tif"]
    assert stated(paths, inputs="gone").of_kind("input") == ()


def test_names_code_by_its_digest_and_git_id_once_with_its_stages(paths: Paths) -> None:
    found = stated(paths)
    blob = hashlib.sha1(b"blob 3\0one").hexdigest()
    assert found.of_kind("code") == (Resource("code.py", "code", sha256("one"), git_blob=blob, stages=STAGES),
                                     Resource("more.py", "code", sha256("two"),
                                              git_blob=hashlib.sha1(b"blob 3\0two").hexdigest(), stages=("train",)))
    assert [(r.name, r.kind) for r in found.of_kind("lock", "pipeline")] == [
        ("requirements.lock", "lock"), ("dvc.yaml", "pipeline")]
    assert all(len(r.git_blob) == 40 for r in found.of_kind("lock", "pipeline"))


def test_names_the_machine_of_each_stage_that_left_it(paths: Paths) -> None:
    found = stated(paths).environments
    assert set(found) == {"acquire", "export"}
    assert found["acquire"] == {"cpu": "old"}
    assert {"device", "cpu", "threads", "precision", "world_size", "python", "libraries"} <= set(found["export"])


def test_reports_and_run_that_were_not_pulled_are_left_out(paths: Paths) -> None:
    paths.run_file.unlink()
    (paths.report("acquire") / "environment.json").unlink()
    (paths.report("acquire") / "file.txt").unlink()
    paths.report("acquire").rmdir()
    found = stated(paths)
    assert (found.run_key, found.run, found.raw["predicate"]["runDetails"]["byproducts"]) == ("", {}, [])
    assert {"models/run.json", "reports/acquire"}.isdisjoint(named(found, "artifact"))
    (paths.labels / "file.txt").unlink()
    paths.labels.rmdir()
    with pytest.raises(IntegrityError, match="data/labels must be a file"):
        stated(paths)


@pytest.mark.parametrize(("file", "text", "said"), [
    ("models/run.json", "{", "run.json must be JSON as its stage writes it: .*; run `dvc checkout models/run.json`"),
    ("models/run.json", "[]", "must be a JSON object as its stage writes it: got list"),
    ("models/run.json", '{"id": 1}', r"must hold the run's key .*got \['id'\]"),
    ("reports/acquire/environment.json", "x", "environment.json must be JSON .*; run `dvc repro --force acquire`"),
    ("unseal.log.jsonl", "{\n", "line 1 of .*unseal.log.jsonl must be a look at the test part"),
    ("unseal.log.jsonl", "[]\n", "line 1 of .*unseal.log.jsonl must be a look"),
])
def test_a_broken_record_is_an_error(paths: Paths, file: str, text: str, said: str) -> None:
    (paths.root / file).write_text(text)
    with pytest.raises(IntegrityError, match=said):
        stated(paths)


def test_only_looks_with_this_model_are_told(paths: Paths) -> None:
    model = folder_sha256(paths.checkpoint)
    lines = [{"model": model, "look": 1}, {"model": "other", "look": 2}, {"model": model, "look": 3}]
    assert unsealings(paths) == []
    paths.unseal_log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert stated(paths).unsealings == (lines[0], lines[2])


def test_ancestry_is_taken_out_of_the_run(paths: Paths) -> None:
    earlier = stated(paths).raw
    start = {"uri": "old", "sha256": S5E}
    entry = {"sha256": S5E, "uri": "old", "run_key": "k0", "statement": earlier}
    paths.run_file.write_text(json.dumps({"key": "k2", "warm_start": {**start, "ancestry": [entry]}}))
    found = stated(paths)
    assert found.run == {"key": "k2", "warm_start": start}
    (ancestor,) = found.ancestry
    assert ancestor.statement == parse(earlier)


def test_names_no_place_on_this_machine(paths: Paths) -> None:
    assert str(paths.root) not in json.dumps(stated(paths).raw)
