"""Promotion with a real MLflow database: who gets the alias, who is refused with which status, what is shown.

What a file is and whether its bytes verify (`identify`, `verify`) have tests of their own and are stand-ins here;
tests/e2e/test_promote.py has the real ones.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from pipeline import cli_promote
from pipeline.errors import IntegrityError, ModelError, NotKumulusError
from pipeline.lineage import promote as promotion
from pipeline.lineage.identify import Identified
from pipeline.lineage.promote import Status, promote
from pipeline.lineage.verdicts import Link, Report, Verdict
from pipeline.paths import Paths
from pipeline.tracking.lookup import looking
from pipeline.tracking.statement import Resource, Statement
from pipeline.tracking.store import client, experiment_id, locate, session
from tests.unit.lineage.files import sha256
from tests.unit.lineage.standings import CLASSES, NAME, counts, scores

CERTIFICATE = json.dumps({"shared_places": []})
#: Value of every score of versions 1 and 2, and their pixels right by block.
VALUES, RIGHT = (0.6, 0.8), ({1: (8, 6), 2: (7, 7)}, {1: (10, 8), 2: (9, 9)})


def metrics(value: float) -> dict[str, Any]:
    return {**scores(value), "members": [{"number": 0, "seed": 7, "fold": 0}], "out_of_fold": False}


def table(right: Mapping[int, tuple[int, int]]) -> pd.DataFrame:
    rows = [("val", "reference", "network", 0, "s", block, true, predicted, counts(*numbers).matrix[true, predicted])
            for block, numbers in right.items() for true in (0, 1) for predicted in (0, 1)]
    return pd.DataFrame(rows, columns=["part", "truth", "method", "member", "scene", "block", "true", "predicted",
                                       "count"])


def statement(number: int, folder: Path) -> Statement:
    named = [("file", name, sha256(file)) for name, file in (
        ("reports/evaluate/metrics.json", folder / "metrics.json"),
        ("reports/evaluate/confusions.parquet", folder / "confusions.parquet"),
        ("data/splits/certificate.json", folder / "certificate.json"))]
    resources = tuple(Resource(name, kind, digest) for kind, name, digest in [*named, ("artifact", "data/splits", "s")])
    params = {"seed": 7, "export": {"tta": "none"},
              "evaluate": {"bootstrap": {"resamples": 100, "confidence": 0.95},
                           "targets": {"mcc": ">= 0.45", "lake.iou": ">= 0.3"}}}
    return Statement("export", f"p{number}", {}, resources, params, {}, f"key{number}", {}, None, False, NAME, (), (),
                     "", {})


@pytest.fixture(scope="session")
def registry_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions, whose evaluations are artifacts of runs."""
    root = tmp_path_factory.mktemp("promotion")
    store = locate(Paths(root))
    found = client(store)
    with session(store):
        experiment = experiment_id(found, store)
        found.create_registered_model(NAME)
        for number in (1, 2):
            folder = root / f"files{number}"
            folder.mkdir()
            (folder / "metrics.json").write_text(json.dumps(metrics(VALUES[number - 1])))
            table(RIGHT[number - 1]).to_parquet(folder / "confusions.parquet", index=False)
            (folder / "certificate.json").write_text(CERTIFICATE)
            key = {"kumulus.run_key": f"key{number}"}
            run = found.create_run(experiment, tags={**key, "kumulus.stage": "evaluate"}).info.run_id
            for name in ("metrics.json", "confusions.parquet"):
                found.log_artifact(run, str(folder / name), "evaluate")
            found.create_model_version(NAME, f"file:///nowhere/{number}", run, await_creation_for=0, tags=key)
    return root


class World:
    """A repository, and what identify and verify are told."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.said: list[str] = []
        self.verified: list[str] = []
        self.links: tuple[Link, ...] = ()
        self.statements = {f"models:/{NAME}/{n}": statement(n, paths.root / f"files{n}") for n in (1, 2)}

    def identify(self, target: str, paths: Paths) -> Identified:
        if target not in self.statements:
            raise NotKumulusError(f"{target} must be a model that Kumulus registered")
        return Identified(target, "mlflow_model", None, "", "", "model.onnx", self.statements[target], "", None, "")

    def verify(self, identified: Identified, paths: Paths) -> Report:
        self.verified.append(identified.target)
        return Report(self.links, 9, 9)

    def change(self, number: int, **params: Any) -> None:
        """Change a section of the params of a version's build."""
        ref = f"models:/{NAME}/{number}"
        old = self.statements[ref]
        changed = {name: {**old.params[name], **value} for name, value in params.items()}
        self.statements[ref] = replace(old, params={**old.params, **changed})

    def promote(self, number: int, alias: str = "champion", **options: Any) -> promotion.Promotion:
        self.said.clear()
        return promote(f"models:/{NAME}/{number}", self.paths, alias, say=self.said.append, **options)

    def aliases(self, number: int) -> tuple[str, ...]:
        with looking(self.paths) as lookup:
            return lookup.version(f"models:/{NAME}/{number}").aliases

    @property
    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture
def world(registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    root = tmp_path / "repository"
    shutil.copytree(registry_folder, root)
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:  # addresses of artifacts are absolute
        for place in ("experiments set artifact_location = replace(artifact_location",
                      "runs set artifact_uri = replace(artifact_uri"):
            database.execute(f"update {place}, ?, ?)", (str(registry_folder), str(root)))
    (root / "data/splits").mkdir(parents=True)
    (root / "data/splits/certificate.json").write_text(CERTIFICATE)
    made = World(Paths(root))
    monkeypatch.setattr(promotion, "identify", made.identify)
    monkeypatch.setattr(promotion, "verify", made.verify)
    return made


def test_gates_hold_and_bytes_verify(world: World) -> None:
    done = world.promote(1)
    assert (done.status, done.reason, done.version.version) == (Status.PROMOTED, "", "1")
    assert world.aliases(1) == ("champion",)
    assert "gate: mcc >= 0.45 holds: 0.600 (0.500 to 0.700)" in world.said
    assert "which no version has" in world.said[0]
    assert world.said[-1] == f"models:/{NAME}/1 is models:/{NAME}@champion now"


def test_the_present_champion_is_shown_beside_and_history_is_kept(world: World) -> None:
    world.promote(1)
    assert world.promote(2).status is Status.PROMOTED
    assert (world.aliases(1), world.aliases(2)) == ((), ("champion",))
    assert "differences: version 2 minus 1 on the 2 blocks" in world.text
    assert "0.600 [0.500, 0.700]" in world.text
    assert world.said[-1] == f"models:/{NAME}/2 is models:/{NAME}@champion now; version 1 was before"
    with looking(world.paths) as lookup:
        (entry,) = json.loads(lookup.version(f"models:/{NAME}/2").tags["kumulus.alias.champion"])
    assert entry["before"] == "1"


def test_again_changes_nothing(world: World) -> None:
    world.promote(1)
    assert world.promote(1).status is Status.PROMOTED
    assert world.said[-1].endswith("already: nothing was changed")
    assert world.aliases(1) == ("champion",)


def test_candidate_and_champion_are_apart(world: World) -> None:
    world.promote(1)
    world.promote(2, "candidate")
    assert (world.aliases(1), world.aliases(2)) == (("champion",), ("candidate",))
    assert world.promote(1, "candidate").status is Status.PROMOTED
    assert (world.aliases(1), world.aliases(2)) == (("candidate", "champion"), ())


def test_a_missed_gate_refuses_before_anything_is_hashed(world: World) -> None:
    world.change(1, evaluate={"targets": {"mcc": ">= 0.45", "lake.iou": ">= 0.51", "objects.lake.f1": "> 0.55"}})
    done = world.promote(1)
    assert (done.status, done.reason) == (Status.REFUSED, "2 of 3 gates are missed: lake.iou, objects.lake.f1")
    assert "gate: lake.iou >= 0.51 is missed: 0.600 (0.500 to 0.700), of which the lower limit counts" in world.said
    assert (world.aliases(1), world.verified) == ((), [])


def test_a_score_that_most_draws_do_not_know_is_refused(world: World) -> None:
    content = metrics(0.6)
    content["truths"]["reference"]["network"]["iou"]["lake"] = {"value": 0.6, "low": 0.6, "high": 0.6, "defined": 0.65}
    folder = world.paths.root / "files1"
    (folder / "metrics.json").write_text(json.dumps(content))
    world.statements[f"models:/{NAME}/1"] = statement(1, folder)
    shutil.copytree(folder, world.paths.report("evaluate"))
    done = world.promote(1)
    assert (done.status, done.reason) == (Status.REFUSED, "1 of 2 gates are missed: lake.iou")
    assert "gate: lake.iou >= 0.3 is missed: 0.600 is undefined in 35 % of the resamples" in world.text
    assert "0.600 [0.600, 0.600] †" in world.text
    assert "† lake.iou undefined in 35 % of the resamples" in world.text


def test_without_targets_only_when_asked_for(world: World) -> None:
    world.change(1, evaluate={"targets": {}})
    done = world.promote(1)
    assert done.status is Status.REFUSED
    assert done.reason == (
        "the build declares no targets, so nothing says that it is good enough; declare one in params.yaml, such as "
        'evaluate.targets: {lake.iou: ">= 0.5"}, and run `dvc repro`, or give --without-targets')
    assert world.aliases(1) == ()
    assert world.promote(1, without_targets=True).status is Status.PROMOTED
    world.change(2, evaluate={"targets": {"mcc": ">= 0.9"}})
    assert world.promote(2, without_targets=True).status is Status.REFUSED


@pytest.mark.parametrize(("verdict", "status"), [
    (Verdict.ABSENT, Status.UNVERIFIABLE), (Verdict.CONTRADICTED, Status.CONTRADICTED)])
def test_what_does_not_verify_is_refused_by_its_first_broken_link(
    world: World, verdict: Verdict, status: Status
) -> None:
    world.links = (Link("a", "fine", "workspace", Verdict.VERIFIED, "1", "1", ""),
                   Link("b", "data/raw/labels.gpkg", "workspace", verdict, "1", "2", "other bytes"),
                   Link("c", "other", "", verdict, "1", "", "not here"))
    done = world.promote(1)
    assert done.status is status
    assert done.reason == ("data/raw/labels.gpkg (workspace): other bytes; 1 more links do not hold, see "
                           "`kumulus trace --verify`")
    assert world.verified == [f"models:/{NAME}/1"]
    assert world.aliases(1) == ()


def test_moved_on_is_no_obstacle(world: World) -> None:
    world.links = (Link("a", "params", "workspace", Verdict.MOVED_ON, "1", "2", "it is about another build"),)
    assert world.promote(1).status is Status.PROMOTED


@pytest.mark.parametrize("how", ["changed", "gone", "no statement"])
def test_scores_that_are_not_those_on_record_judge_nothing(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = f"models:/{NAME}/1"
    (kept,) = [file for file in world.paths.root.glob("mlartifacts/**/metrics.json") if "0.6" in file.read_text()]
    if how == "changed":
        kept.write_text(json.dumps(metrics(0.99)))
    elif how == "gone":
        kept.unlink()
    else:
        found = replace(world.identify(ref, world.paths), statement=None, missing=("lineage.json: put it there",))
        monkeypatch.setattr(promotion, "identify", lambda *_: found)
    done = world.promote(1)
    assert done.status is Status.UNVERIFIABLE
    assert done.reason == f"the scores of {NAME} version 1 are not here, so no gate can be judged"
    assert any(line.startswith("not found: ") for line in world.said)
    assert (world.aliases(1), world.verified) == ((), [])


def test_files_of_the_workspace_are_found_by_digest(world: World) -> None:
    for file in world.paths.root.glob("mlartifacts/**/metrics.json"):
        file.unlink()
    report = world.paths.report("evaluate")
    report.mkdir(parents=True)
    shutil.copyfile(world.paths.root / "files1/metrics.json", report / "metrics.json")
    assert world.promote(1).status is Status.PROMOTED


def test_a_champion_that_cannot_be_read_stands_in_nobodys_way(world: World) -> None:
    world.promote(1)
    del world.statements[f"models:/{NAME}/1"]
    assert world.promote(2).status is Status.PROMOTED
    assert "version 1, which has the alias, cannot be shown beside it" in world.text


def test_with_test_time_augmentation_its_own_scores_count(world: World) -> None:
    world.change(1, export={"tta": "d4"})
    with pytest.raises(IntegrityError, match="must be of one build to be judged: KeyError 'network_tta'"):
        world.promote(1)
    content = metrics(0.6)
    content["truths"]["reference"]["network_tta"] = scores(0.3)["truths"]["reference"]["network"]
    folder = world.paths.root / "files1"
    (folder / "metrics.json").write_text(json.dumps(content))
    shown = table(RIGHT[0])
    pd.concat([shown, shown.assign(method="network_tta")]).to_parquet(folder / "confusions.parquet", index=False)
    world.statements[f"models:/{NAME}/1"] = statement(1, folder)
    world.change(1, export={"tta": "d4"})
    report = world.paths.report("evaluate")
    shutil.copytree(folder, report)
    done = world.promote(1)
    assert (done.status, done.reason) == (Status.REFUSED, "2 of 2 gates are missed: mcc, lake.iou")


def test_classes_that_the_metrics_lack_are_missed(world: World) -> None:
    world.change(1, evaluate={"targets": {"ice.iou": ">= 0.1"}})
    assert CLASSES == ("rock", "lake")
    assert world.promote(1).reason == "1 of 1 gates are missed: ice.iou"


def test_mlflow_away_or_ignorant(world: World, dead_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=rf"models:/{NAME}/9 must be something that MLflow at .* knows: .*kumulus s"):
        world.promote(9)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with pytest.raises(ModelError, match=rf"models:/{NAME}/1 must be looked up in MLflow at {dead_server}, which did"):
        world.promote(1)


def test_nothing_else_is_written(world: World) -> None:
    def files() -> dict[str, bytes]:
        return {str(file.relative_to(world.paths.root)): file.read_bytes() for file in world.paths.root.rglob("*")
                if file.is_file() and not file.name.startswith("mlflow.db") and file.name != "promote.lock"}

    before = files()
    world.promote(1)
    assert files() == before


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, world: World) -> Callable[..., tuple[int, str]]:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_promote.register(app)
    monkeypatch.chdir(world.paths.root)

    def call(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["promote", *words])
        return done.exit_code, done.output

    return call


def test_the_command_has_a_status_for_each_end(command: Callable[..., tuple[int, str]], world: World) -> None:
    status, output = command(f"models:/{NAME}/1", "--alias", "candidate")
    assert (status, output.splitlines()[-1]) == (0, f"models:/{NAME}/1 is models:/{NAME}@candidate now")
    world.links = (Link("b", "data/raw", "", Verdict.ABSENT, "1", "", "nowhere"),)
    status, output = command(f"models:/{NAME}/1")
    assert (status, output.splitlines()[-1]) == (3, f"kumulus: {NAME} version 1 is not promoted: data/raw: nowhere")
    world.links = (Link("b", "data/raw", "", Verdict.CONTRADICTED, "1", "", "x"),)
    assert command(f"models:/{NAME}/1")[0] == 4
    world.change(1, evaluate={"targets": {}})
    assert command(f"models:/{NAME}/1")[0] == 1
    world.links = ()
    assert command(f"models:/{NAME}/1", "--without-targets")[0] == 0
    status, output = command("no-such")
    assert (status, output.startswith("kumulus: what is promoted must be models:/name/version")) == (1, True)
    status, output = command(f"models:/{NAME}/1", "--alias", "v1")
    assert (status, output.startswith("kumulus: an alias must be small letters")) == (1, True)
