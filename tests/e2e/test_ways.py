"""However a result came about, its run, its registered version and its files tell one story, and `trace` says how.

The ways: a plain experiment of DVC, a queued one, a newer build beside an older file, a commit that was rebased and is
gone, a clone on the same MLflow with a further build whose training is killed, and that build pulled back.
"""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.digests import file_sha256
from pipeline.lineage.claims import read_claims
from pipeline.lineage.commits import find_commit
from pipeline.lineage.identify import identify
from pipeline.lineage.tree import build
from pipeline.lineage.verify import Report, Verdict, verify
from pipeline.paths import Paths
from pipeline.tracking.computed import Origin, computations
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, looking
from pipeline.tracking.provenance import STAGES
from pipeline.tracking.statement import Statement, read
from tests.e2e.conftest import Repository, killed_at_the_end, own_copy

NAME = "kumulus-settlement"
EXPORT = "models/export"
#: Exported once more with another operator set: one training, two exports under one name.
OTHER = ("--set-param", "+export.opset=17")
HERE: Origin = "computed here"
#: Files that say which provenance.json is theirs.
TAGGED = (".onnx", ".tif", ".gpkg", ".parquet", ".md")


@dataclass(frozen=True)
class Story:
    """What file, run and version agree on."""

    statement: Statement
    #: Name and number, as in "kumulus-settlement/2".
    version: str
    #: Of the export.
    run: FoundRun
    #: Stage -> computed here, restored or pulled.
    origins: dict[str, str]
    report: Report

    def moved_on(self) -> set[str]:
        """What the workspace has another version of."""
        return {link.node for link in self.report.of(Verdict.MOVED_ON)}


@pytest.fixture(scope="module")
def own(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository, with its own MLflow, that has computed nothing but what lies in it."""
    made = own_copy(repository, tmp_path_factory.mktemp("ways") / "project")
    paths, locked = Paths(made.root), (made.root / "dvc.lock").read_text(encoding="utf-8")
    lines = {line["stage"]: line for line in computations(paths) if all(oid in locked for oid in line["outs"].values())}
    paths.computed.write_text("".join(f"{json.dumps(line)}\n" for line in lines.values()), encoding="utf-8")
    return made


@pytest.fixture
def repo(own: Repository) -> Iterator[Repository]:
    """The copy; what a test changes in its workspace is taken back."""
    start = own.call("git", "rev-parse", "HEAD").strip()
    yield own
    own.call("git", "reset", "--quiet", "--hard", start)
    own.call("dvc", "checkout", "--force", "--quiet")


@pytest.fixture(scope="module")
def first(own: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first build's files, elsewhere."""
    folder = tmp_path_factory.mktemp("first") / "sent"
    shutil.copytree(own.root / EXPORT, folder)
    return folder


def one_story(repo: Repository, folder: Path | str = EXPORT) -> Story:
    """What is told of an export, once run, version, files, `trace` and `verify` have been found to agree."""
    paths, folder = Paths(repo.root), repo.root / folder
    stated = read(folder / "lineage.json")
    assert file_sha256(folder / "provenance.json") == stated.provenance
    for name in stated.subjects:
        if name.endswith(TAGGED):
            assert read_claims(folder / name).provenance == stated.provenance, name
    with looking(paths) as mlflow:
        (training,) = mlflow.runs({RUN_KEY: stated.run_key, STAGE: "train"})
        assert training.status == "FINISHED"
        (run,) = [run for run in mlflow.runs({RUN_KEY: stated.run_key, STAGE: "export"})
                  if (kept := mlflow.artifact(run.run_id, "export/lineage.json")) is not None
                  and kept.read_bytes() == (folder / "lineage.json").read_bytes()]
        assert run.tags["mlflow.parentRunId"] == training.run_id
        assert run.tags["kumulus.provenance"] == stated.provenance
        (version,) = [version for version in mlflow.versions("kumulus.provenance", stated.provenance)
                      if version.run_id == run.run_id]
        assert version.name == stated.registered_model
        assert version.tags[RUN_KEY] == stated.run_key
        number = f"{version.name}/{version.version}"
        assert file_sha256(mlflow.model_file(f"models:/{number}")) == stated.subjects["model.onnx"]
    identified = identify(str(folder / "model.onnx"), paths)
    assert identified.statement == stated
    trace = build(identified, paths)
    assert trace.missing == ()
    assert trace.node("run").facts["MLflow run"] == training.run_id  # type: ignore[union-attr]
    assert [node.id for node in trace.nodes if node.kind == "model_version"] == [f"model_version:{number}"]
    report = verify(identified, paths, progress=False)
    assert report.verdict is Verdict.VERIFIED, report.first_broken
    assert not report.of(Verdict.CONTRADICTED)
    told = {link.place: link.verdict for link in report.links if link.node in ("run", f"model_version:{number}")}
    assert set(told.values()) == {Verdict.VERIFIED}
    assert {f"MLflow run {training.run_id}", f"MLflow run {run.run_id}"} < set(told)
    origins = {node.label: node.facts["origin"] for node in trace.nodes if node.kind == "stage"}
    assert set(origins) == set(STAGES)
    return Story(stated, number, run, origins, report)


def test_a_queued_experiment(repo: Repository) -> None:
    before = one_story(repo)
    assert before.origins == dict.fromkeys(STAGES, HERE)
    repo.call("dvc", "exp", "run", "--queue", "--name", "queued", "--set-param", "export.registered_name=queued")
    work_off(repo)
    assert one_story(repo).origins == before.origins, "it ran in a copy"
    paths = Paths(repo.root)
    identified = identify("models:/queued/1", paths)
    assert identified.statement is not None
    assert verify(identified, paths, progress=False).verdict is Verdict.VERIFIED
    repo.call("dvc", "exp", "apply", "queued")
    story = one_story(repo)
    assert story.statement == identified.statement
    assert story.version == "queued/1"
    assert story.run.tags["kumulus.dvc_experiment"] == "queued"
    assert story.origins["export"] == HERE


def test_an_experiment_and_the_older_file(repo: Repository, first: Path) -> None:
    before = one_story(repo)
    repo.call("dvc", "exp", "run", "--name", "plain", *OTHER)
    story = one_story(repo)
    assert story.statement.run_key == before.statement.run_key, "two exports of one training"
    newer, older_number = (int(found.version.removeprefix(f"{NAME}/")) for found in (story, before))
    assert newer > older_number
    assert story.run.tags["kumulus.dvc_experiment"] == "plain"
    assert set(story.origins.values()) == {HERE}
    older = one_story(repo, first)
    assert older.version == before.version
    assert "params" in older.moved_on()
    assert older.origins["export"] == HERE, "nothing has brought it back"
    repo.restore()
    paths = Paths(repo.root)
    left = build(identify(str(repo.root / EXPORT / "model.onnx"), paths), paths).node("stage:export")
    assert left is not None
    assert left.facts["origin"] == HERE, "the workspace's export, though dvc.lock is about another"
    repo.call("dvc", "checkout", "--force", "--quiet")
    assert one_story(repo).origins == dict.fromkeys(STAGES, HERE) | {"export": "restored"}


def test_a_killed_training_in_a_clone_and_its_result_pulled_back(
    repo: Repository, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = f"sqlite:///{repo.root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    clone = Repository(tmp_path / "clone", repo.environment | {"MLFLOW_TRACKING_URI": server})
    repo.call("git", "clone", "--quiet", str(repo.root), str(clone.root))
    clone.call("dvc", "remote", "add", "--local", "--default", "here", str(repo.root / ".dvc/cache"))
    clone.call("dvc", "pull", "--quiet")
    assert one_story(clone).origins == dict.fromkeys(STAGES, "pulled")

    clone.set_params({"train.epochs": 6, "train.save_every_s": 0, "evaluate.baselines.boosting": False})
    key = killed_training(clone)
    clone.call("dvc", "repro")
    story = one_story(clone)
    assert story.statement.run_key == key, "the training went on"
    made = ("train", "evaluate", "export")
    assert story.origins == {stage: HERE if stage in made else "pulled" for stage in STAGES}
    older = one_story(clone, first)
    assert older.statement.run_key != key
    assert "file:models/checkpoint/members/0/weights.safetensors" in older.moved_on()

    clone.commit()
    clone.call("dvc", "push", "--quiet")
    repo.call("git", "pull", "--quiet", str(clone.root))
    repo.call("dvc", "checkout", "--quiet")
    again = one_story(repo)
    assert (again.statement, again.version) == (story.statement, story.version)
    assert again.origins == {stage: "pulled" if stage in made else HERE for stage in STAGES}


def killed_training(repo: Repository) -> str:
    """Start the training, and kill it with all of `dvc repro` once it could go on later; its key."""
    process = subprocess.Popen(["dvc", "repro", "train"], cwd=repo.root, env=repo.environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with killed_at_the_end(process):
        deadline = time.monotonic() + 600
        while not any((repo.root / ".checkpoints").rglob("state.pt")):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL
    assert not (repo.root / ".kumulus/computed.jsonl").exists(), "killed before its end"
    (key,) = (repo.root / ".checkpoints").glob("*/key")
    return key.read_text()


def test_a_commit_that_is_gone(own: Repository, tmp_path: Path) -> None:
    repo = own_copy(own, tmp_path / "rebased")
    recorded = one_story(repo).statement.commit
    assert recorded is not None
    tree, name = "HEAD^{tree}", repo.call("git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    rebased = repo.call("git", "commit-tree", tree, "-m", "one commit instead of all").strip()
    repo.call("git", "reset", "--quiet", "--soft", rebased)
    for ref in repo.call("git", "for-each-ref", "--format=%(refname)").split():
        if ref != f"refs/heads/{name}":
            repo.call("git", "update-ref", "-d", ref)
    repo.call("git", "reflog", "expire", "--expire=now", "--all")
    repo.call("git", "prune", "--expire=now")
    assert "missing" in repo.call("sh", "-c", f"echo {recorded} | git cat-file --batch-check")
    story = one_story(repo)
    assert story.statement.commit == recorded
    found = find_commit(story.statement, repo.root).match
    assert found is not None
    assert found.commit == rebased


def work_off(repo: Repository) -> None:
    """Let DVC's worker run what is queued, and wait until it has ended."""
    repo.call("dvc", "queue", "start")
    deadline = time.monotonic() + 600
    while "Success" not in (status := repo.call("dvc", "queue", "status")) or "0 active, 0 idle" not in status:
        assert "Failed" not in status, repo.call("dvc", "queue", "logs", "queued")
        assert time.monotonic() < deadline, status
        time.sleep(1)
