"""dvc.yaml says what is true: deps are the import closure, outs are those of Paths, params are what stages read."""

import ast
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params.load import SECTIONS
from pipeline.paths import Paths
from tools.closure import LOCK, code_deps, is_code

STAGES = ("acquire", "refine_labels", "rasterize", "spatial_split", "train", "evaluate", "export")
P = Paths()
OUTS = {
    "acquire": {P.raw},
    "refine_labels": {P.labels},
    "rasterize": {P.scenes},
    "spatial_split": {P.splits},
    "train": {P.checkpoint, P.run_file},
    "evaluate": set(),
    "export": {P.export},
}


@pytest.fixture(scope="module")
def document(project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load((project / "dvc.yaml").read_text(encoding="utf-8"))
    return loaded


def test_seven_stages_one_script_each(document: dict[str, Any], project: Path) -> None:
    assert tuple(document["stages"]) == STAGES
    for name, stage in document["stages"].items():
        assert stage["cmd"] == f"python -m stages.{name}"
    assert {p.stem for p in (project / "stages").glob("*.py")} == {"__init__", *STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_import_closure(document: dict[str, Any], project: Path, name: str) -> None:
    stage = document["stages"][name]
    assert [d for d in stage["deps"] if is_code(d)] == code_deps(project, stage["cmd"]), "run `make deps`"


@pytest.mark.parametrize("name", STAGES)
def test_outs_are_those_of_paths(document: dict[str, Any], project: Path, name: str) -> None:
    outs = {Path(out) for out in document["stages"][name]["outs"]}
    assert outs == OUTS[name] | {P.report(name)}
    script = (project / f"stages/{name}.py").read_text(encoding="utf-8")
    assert f'recorded("{name}", Paths())' in script, "which leaves environment.json in the report"


def test_data_deps_are_outs_of_earlier_stages(document: dict[str, Any]) -> None:
    made: list[Path] = []
    for name, stage in document["stages"].items():
        for dep in stage["deps"]:
            if not is_code(dep) and dep != "${acquire.inputs}":
                assert any(Path(dep).is_relative_to(out) for out in made), f"{name} reads {dep}, which nothing makes"
        made += [Path(out) for out in stage["outs"]]


def test_run_file_is_no_dep_and_nothing_persists(document: dict[str, Any]) -> None:
    for stage in document["stages"].values():
        assert str(P.run_file) not in stage["deps"]
        assert all(isinstance(out, str) for out in stage["outs"])  # no options, so no persist


def sections_read(path: Path) -> set[str]:
    """Params that a file asks for: `params.section(Class)` and `params.seed`."""
    by_class = {cls: section for section, (_, cls) in SECTIONS.items()}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "section":
            found |= {by_class[a.id] for a in node.args if isinstance(a, ast.Name)}
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "params.seed":
            found.add("seed")
    return found


@pytest.mark.parametrize("name", STAGES)
def test_params_are_declared(document: dict[str, Any], project: Path, name: str) -> None:
    stage = document["stages"][name]
    read = set().union(*(sections_read(project / d) for d in stage["deps"] if d.endswith(".py")))
    assert read
    assert {entry.partition(".")[0] for entry in stage["params"]} >= read


def test_params_that_are_named_exist(document: dict[str, Any], project: Path) -> None:
    """DVC refuses to run a stage whose key is not in params.yaml, even where the schema has a default."""
    params = YAML(typ="safe", pure=True).load((project / "params.yaml").read_text(encoding="utf-8"))
    for stage in document["stages"].values():
        for entry in stage["params"]:
            node: Any = params
            for part in entry.split("."):
                assert part in node, entry
                node = node[part]


def test_lock_is_a_dep_of_every_stage(document: dict[str, Any]) -> None:
    assert all(LOCK in stage["deps"] for stage in document["stages"].values())


def test_metrics_and_plots_lie_in_outs(document: dict[str, Any]) -> None:
    outs = [Path(out) for stage in document["stages"].values() for out in stage["outs"]]
    files = list(document["metrics"])
    for plot in document["plots"]:
        if isinstance(plot, str):
            files.append(plot)
            continue
        for options in plot.values():
            files += list(options["y"])
    assert files
    for file in files:
        assert any(Path(file).is_relative_to(out) for out in outs), file
