"""MLflow read for a trace: what is there is found, nothing is written, a dead one is given up."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ModelError, NotKumulusError
from pipeline.lineage import registry_view
from pipeline.lineage.identify import identify
from pipeline.lineage.tree import build
from pipeline.paths import Paths, write_json
from pipeline.tracking.journal import Journal
from pipeline.tracking.lookup import is_run_id, looking
from pipeline.tracking.models import register_onnx
from pipeline.tracking.sender import sync
from pipeline.tracking.store import RefusedError, UnreachableError, client, locate
from tests.unit.lineage.files import sha256
from tests.unit.lineage.small_export import RUN_KEY, write_export


@pytest.fixture
def exported(paths: Paths) -> str:
    """An export whose training, export and model are in MLflow; the digest of its provenance.json."""
    digest = write_export(paths.root)
    training = Journal.create(paths.journal, RUN_KEY, "train", "run-train", {})
    training.close("FINISHED")
    export = Journal.create(paths.journal, RUN_KEY, "export", "run-export", {"kumulus.provenance": digest})
    for name in ("provenance.json", "lineage.json"):
        export.artifact(paths.export / name, "export")
    register_onnx(export, paths.export / "model.onnx", "m", ["blue"], ["a"], {"kumulus.provenance": digest})
    export.close("FINISHED")
    assert [delivered.outcome for delivered in sync(paths)] == ["delivered", "delivered"]
    return digest


def _state(root: Path) -> dict[str, tuple[int, str]]:
    """Time of change and digest of every file."""
    return {str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest())
            for p in sorted(root.rglob("*")) if p.is_file()}


def test_versions_runs_and_files_are_found(paths: Paths, exported: str) -> None:
    with looking(paths) as lookup:
        version = lookup.version("models:/m/1")
        assert (version.name, version.version, version.aliases) == ("m", "1", ())
        assert version.sha256 == sha256(paths.export / "model.onnx")
        assert version.tags["kumulus.provenance"] == exported
        assert sha256(lookup.model_file("models:/m/1")) == version.sha256
        (training,) = lookup.runs({"kumulus.run_key": RUN_KEY, "kumulus.stage": "train"})
        assert (training.stage, training.key, training.status) == ("train", RUN_KEY, "FINISHED")
        assert lookup.run(training.run_id) == training
        kept = lookup.artifact(version.run_id, "export/lineage.json")
        assert kept is not None
        assert sha256(kept) == sha256(paths.export / "lineage.json")
        assert lookup.stays(kept)
        assert lookup.artifact(version.run_id, "export/none.json") is None
        assert [v.version for v in lookup.versions("kumulus.provenance", exported)] == ["1"]
        assert lookup.versions("kumulus.provenance", "x") == []
        assert [v.version for v in lookup.versions_of(version.run_id)] == ["1"]
        assert lookup.versions_of(training.run_id) == []
        assert lookup.known_run(training.run_id, deleted=True) == lookup.known_run(training.run_id) == training
        assert lookup.known_run("0" * 32, deleted=True) is None
        with pytest.raises(RefusedError, match="must read models:/name/version"):
            lookup.version("models:/m")


def test_an_alias_is_followed_and_shown(paths: Paths, exported: str) -> None:
    client(locate(paths)).set_registered_model_alias("m", "champion", "1")
    with looking(paths) as lookup:
        assert lookup.version("models:/m@champion").shown == "m version 1 (champion)"
    found = identify("models:/m@champion", paths)
    assert found.facts["registered"] == "m version 1 (champion)"
    assert found.provenance == exported


def test_a_model_and_its_runs_lead_to_the_statement_that_mlflow_keeps(
    paths: Paths, exported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Paths(paths.root / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", locate(paths).uri)
    with looking(paths) as lookup:
        runs = [run.run_id for run in lookup.runs({"kumulus.run_key": RUN_KEY})]
    for target in ("models:/m/1", *runs, *(f"runs:/{run}" for run in runs)):
        found = identify(target, elsewhere)
        assert found.provenance == exported
        assert found.statement is not None
        assert found.statement_place.startswith("MLflow run ")
        assert found.provenance_json is not None
    trace = build(identify("models:/m/1", elsewhere), elsewhere)
    assert trace.node("run").facts["status"] == "FINISHED"  # type: ignore[union-attr]
    assert ("run", "model_version:m/1", "registered as") in trace.edges
    copy = paths.root / "elsewhere.onnx"
    copy.write_bytes((paths.export / "model.onnx").read_bytes())
    assert identify(str(copy), elsewhere).statement_place.startswith("MLflow run ")


def test_two_exports_of_one_provenance_have_each_its_own_version(
    paths: Paths, exported: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = tmp_path_factory.mktemp("sent") / "export"
    shutil.copytree(paths.export, sent)
    stated = json.loads((sent / "lineage.json").read_text())
    stated["predicate"]["runDetails"]["metadata"]["finishedOn"] = "2031-01-01T00:00:00+00:00"
    write_json(paths.export / "lineage.json", stated)
    again = Journal.create(paths.journal, RUN_KEY, "export", "run-export", {"kumulus.provenance": exported})
    again.artifact(paths.export / "lineage.json", "export")
    register_onnx(again, paths.export / "model.onnx", "m", ["blue"], ["a"], {"kumulus.provenance": exported})
    again.close("FINISHED")
    sync(paths)
    for folder, version in ((sent, "m/1"), (paths.export, "m/2")):
        trace = build(identify(str(folder / "model.onnx"), paths), paths)
        assert [node.id for node in trace.nodes if node.kind == "model_version"] == [f"model_version:{version}"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", locate(paths).uri)
    for place in (paths, Paths(paths.root / "elsewhere")):
        for target, folder in (("models:/m/1", sent), ("models:/m/2", paths.export)):
            found = identify(target, place).statement
            assert found is not None
            assert found.raw == json.loads((folder / "lineage.json").read_text()), target


def test_a_tag_that_is_not_what_the_file_carries_is_noted(paths: Paths, exported: str) -> None:
    client(locate(paths)).set_model_version_tag("m", "1", "kumulus.provenance", "0" * 64)
    found = identify("models:/m/1", paths)
    assert found.notes == (f"the version's tag says provenance {'0' * 64}, its file {exported}",)


def test_what_kumulus_did_not_make_is_refused(paths: Paths) -> None:
    mlflow_client = client(locate(paths))
    experiment = mlflow_client.create_experiment("other")
    run = mlflow_client.create_run(experiment).info.run_id
    mlflow_client.create_registered_model("other")
    mlflow_client.create_model_version("other", "x", run)
    with pytest.raises(NotKumulusError, match="must be a run that Kumulus made"):
        identify(run, paths)
    with pytest.raises(NotKumulusError, match="that Kumulus registered"):
        identify("models:/other/1", paths)
    with pytest.raises(ModelError, match="knows"):
        identify("models:/none/1", paths)


def test_a_training_without_an_export_says_so(paths: Paths) -> None:
    Journal.create(paths.journal, "key", "train", "run-train", {}).close("FINISHED")
    sync(paths)
    with looking(paths) as lookup:
        (run,) = lookup.runs({"kumulus.run_key": "key"})
    found = identify(run.run_id, paths)
    assert (found.kind, found.statement) == ("mlflow_run", None)
    assert "no export of this training" in found.notes[0]


def test_looking_writes_nothing(paths: Paths, exported: str) -> None:
    before = _state(paths.root)
    for target in ("models:/m/1", str(paths.export / "model.onnx"), str(paths.export / "polygons.gpkg"),
                   str(paths.checkpoint / "members/0")):
        build(identify(target, paths), paths)
    assert _state(paths.root) == before


def test_a_dead_server_and_no_database_are_named(
    paths: Paths, dead_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with pytest.raises(UnreachableError), looking(paths):
        pass
    assert "set MLFLOW_TRACKING_URI" in registry_view.look(paths, "key", "p").missing[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///none.db")
    with pytest.raises(UnreachableError, match=r"there is no .*none\.db"), looking(paths):
        pass
    (paths.root / "none.db").write_text("no database, but a text that is long enough to be read as a page of one" * 9)
    with pytest.raises(UnreachableError, match="cannot be read"), looking(paths):
        pass


def test_ids_of_runs_are_told_from_names() -> None:
    assert is_run_id("a" * 32)
    assert not is_run_id("a" * 31 + "g")
    assert not is_run_id("model.onnx")
