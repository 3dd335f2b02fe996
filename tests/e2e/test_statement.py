"""lineage.json of a real run: it agrees with dvc.lock and git, and what was computed here is told from what was not."""

import json
from collections.abc import Iterator

import pytest

from pipeline.digests import file_sha256
from pipeline.paths import Paths
from pipeline.tracking.computed import computations, origin
from pipeline.tracking.oids import artifact_digests
from pipeline.tracking.provenance import STAGES
from pipeline.tracking.statement import Statement, read
from tests.e2e.conftest import Repository, own_copy


@pytest.fixture(scope="module")
def own(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy, since stages run in it."""
    return own_copy(repository, tmp_path_factory.mktemp("statement") / "project")


@pytest.fixture
def repo(own: Repository) -> Iterator[Repository]:
    computed = Paths(own.root).computed
    before = computed.read_text()
    yield own
    computed.write_text(before)
    own.restore()
    own.call("dvc", "checkout", "--quiet", "--force")


@pytest.fixture(scope="module")
def statement(own: Repository) -> Statement:
    return read(own.root / "models/export/lineage.json")


def oids(repo: Repository, *stages: str) -> dict[str, str]:
    """DVC's id of each out of the stages, as dvc.lock says."""
    return {out["path"]: out["md5"] for name, stage in repo.lock().items() if name in (stages or STAGES)
            for out in stage["outs"]}


def test_every_id_is_the_one_in_dvc_lock(repo: Repository, statement: Statement) -> None:
    named = {resource.name: resource.md5 for resource in statement.of_kind("artifact")}
    assert named == oids(repo, *STAGES[:-1])
    for path, oid in oids(repo, "export").items():
        assert artifact_digests(repo.root / path, repo.root).oid == oid
    inputs = {dep["path"]: dep["md5"] for dep in repo.lock()["acquire"]["deps"]}["inputs"]
    assert [r.md5 for r in statement.of_kind("input") if not r.artifact] == [inputs]


def test_every_code_file_has_gits_own_id(repo: Repository, statement: Statement) -> None:
    tracked = statement.of_kind("code", "lock", "pipeline")
    listed = repo.call("git", "ls-tree", "-r", "HEAD").splitlines()
    blobs = {line.split("\t")[1]: line.split()[2] for line in listed}
    assert {r.name: r.git_blob for r in tracked} == {r.name: blobs[r.name] for r in tracked}
    assert statement.commit == repo.call("git", "rev-list", "--max-parents=0", "HEAD").strip()
    assert not statement.dirty, "dvc.lock alone had changed"


def test_every_stage_left_its_environment_and_files_are_what_it_says(repo: Repository, statement: Statement) -> None:
    assert set(statement.environments) == set(STAGES)
    paths = Paths(repo.root)
    for stage in STAGES:
        left = json.loads((paths.report(stage) / "environment.json").read_text())
        assert left == statement.environments[stage], stage
    for name, digest in statement.subjects.items():
        assert file_sha256(paths.export / name) == digest
    for resource in statement.of_kind("source", "file", "input", "code"):
        if resource.kind != "input" or resource.artifact:
            assert file_sha256(repo.root / resource.name) == resource.sha256


def test_what_was_computed_here_and_what_the_run_cache_brought_back(repo: Repository) -> None:
    paths = Paths(repo.root)
    before = oids(repo)
    for stage in STAGES:
        assert {origin(paths, stage, oid) for oid in oids(repo, stage).values()} == {"computed here"}
    lines = len(computations(paths))
    repo.set_params({"refine_labels.rules": []})
    repo.call("dvc", "repro", "refine_labels")
    changed = oids(repo, "refine_labels")["data/labels"]
    assert changed != before["data/labels"]
    assert origin(paths, "refine_labels", changed) == "computed here"
    repo.restore()
    assert "Running stage" not in repo.call("dvc", "repro", "refine_labels")
    assert len(computations(paths)) == lines + 1
    assert origin(paths, "refine_labels", before["data/labels"]) == "restored"
