"""A whole pipeline's result, traced: back to its sources, how each stage's came here, what another machine can say."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipeline.lineage.identify import identify
from pipeline.lineage.prov import to_prov
from pipeline.lineage.tree import Trace, build
from pipeline.lineage.verify import Verdict, verify
from pipeline.paths import Paths
from pipeline.tracking.provenance import STAGES
from tests.e2e.conftest import Repository, own_copy, state

MAP = "models/export/maps/synthetic_class.tif"


def traced(root: Path, target: str = MAP) -> Trace:
    paths = Paths(root)
    place = str(root / target) if (root / target).exists() else target
    return build(identify(place, paths), paths)


def origins(root: Path) -> dict[str, str]:
    return {node.label: node.facts["origin"] for node in traced(root).nodes if node.kind == "stage"}


@pytest.fixture(scope="module")
def repository(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the first state, whatever runs in the one that tests share."""
    return own_copy(repository, tmp_path_factory.mktemp("traced") / "project")


def test_a_map_leads_to_everything_and_nothing_is_written(repository: Repository) -> None:
    before = state(repository.root)
    trace = traced(repository.root)
    facts = {node.id: node.facts for node in trace.nodes}
    assert facts["run"]["status"] == "FINISHED"
    assert facts["run"]["key"] == json.loads((repository.root / "models/run.json").read_text())["key"]
    versions = [node for node in trace.nodes if node.kind == "model_version"]
    assert versions[0].facts["provenance"] == facts["subject"]["provenance"]
    assert facts["source:data/raw/scenes/synthetic.tif"]["from"].startswith("synthetic:seed=")
    assert "has the bytes of" in {how for start, _, how in trace.edges if start == "file:data/raw/scenes/synthetic.tif"}
    read = {end for start, end, how in trace.edges if start == "stage:export" and how == "reads"}
    wanted = {"data/raw", "data/labels", "data/scenes", "data/splits", "models/checkpoint", "reports/evaluate"}
    assert read >= {f"artifact:{name}" for name in wanted}
    assert trace.missing == ()
    assert set(origins(repository.root)) == set(STAGES)
    assert set(origins(repository.root).values()) == {"computed here"}
    paths = Paths(repository.root)
    report = verify(identify(str(repository.root / MAP), paths), paths, progress=False)
    assert report.verdict is Verdict.VERIFIED
    assert {link.node for link in report.links} <= set(facts) | {"stage:export", "ancestor:0"}
    assert to_prov(trace)
    assert state(repository.root) == before


def test_every_way_to_name_the_result_leads_to_one_build(repository: Repository) -> None:
    trace = traced(repository.root)
    run, folder = trace.node("run"), "models/export"
    version = next(node for node in trace.nodes if node.kind == "model_version")
    assert run is not None
    exported = ("model.onnx", "polygons.gpkg", "polygons.parquet", "model_card.md", "provenance.json", "lineage.json")
    targets = [MAP, folder, *(f"{folder}/{name}" for name in exported), "models/checkpoint",
               "models/checkpoint/members/0/weights.safetensors", run.facts["MLflow run"],
               f"runs:/{run.facts['MLflow run']}", f"models:/{version.facts['name']}/{version.facts['version']}"]
    for target in targets:
        found = traced(repository.root, target)
        assert found.node("run") == run, target
        assert found.node("params") == trace.node("params"), target
        assert {n.id for n in found.nodes if n.kind == "source"} == {n.id for n in trace.nodes if n.kind == "source"}


def test_reads_are_those_of_the_pipeline(repository: Repository) -> None:
    from ruamel.yaml import YAML

    from pipeline.lineage.resources import READS

    stages = YAML(typ="safe").load(repository.root / "dvc.yaml")["stages"]
    outs = {out for stage in stages.values() for out in stage["outs"]}
    for name, stage in stages.items():
        deps = {dep for dep in stage["deps"] for out in outs if Path(dep).is_relative_to(out)}
        assert {next(out for out in outs if Path(dep).is_relative_to(out)) for dep in deps} == set(READS[name]), name


def test_what_a_clone_pulls_is_called_pulled(repository: Repository, tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", Repository(tmp_path / "clone", repository.environment)
    shutil.copytree(repository.root / ".dvc/cache/files/md5", remote / "files/md5")
    repository.call("git", "clone", "--quiet", str(repository.root), str(clone.root))
    clone.call("dvc", "remote", "add", "--local", "--default", "here", str(remote))
    clone.call("dvc", "pull", "--quiet")
    assert origins(clone.root) == dict.fromkeys(STAGES, "pulled")
    trace = traced(clone.root)
    assert trace.node("run").facts.get("MLflow run") is None  # type: ignore[union-attr]
    assert any("MLflow" in text for text in trace.missing)
    shutil.rmtree(clone.root / "models/export/maps")
    copy = tmp_path / "map.tif"
    shutil.copyfile(repository.root / MAP, copy)
    (clone.root / "models/export/lineage.json").unlink()
    found = identify(str(copy), Paths(clone.root))
    assert found.statement is not None
    assert found.statement_place.startswith("DVC, by dvc.lock")


@pytest.mark.parametrize("beside", [(), ("provenance.json",)])
def test_a_map_alone_tells_what_it_can(repository: Repository, tmp_path: Path, beside: tuple[str, ...]) -> None:
    for name in (MAP, *(f"models/export/{name}" for name in beside)):
        shutil.copyfile(repository.root / name, tmp_path / Path(name).name)
    trace = build(identify(str(tmp_path / Path(MAP).name), Paths(tmp_path)), Paths(tmp_path))
    assert trace.nodes[0].facts["classes"].startswith("background, ")
    assert trace.nodes[0].facts["provenance"] == hashlib.sha256(
        (repository.root / "models/export/provenance.json").read_bytes()).hexdigest()
    assert trace.missing[0].startswith("lineage.json of the build")
    assert (trace.node("source:data/raw/scenes/synthetic.tif") is not None) == bool(beside)
