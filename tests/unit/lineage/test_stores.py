"""What is read of DVC and git without either writing anything."""

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.lineage.dvc_store import DvcLock, DvcStore, listing, named
from pipeline.lineage.git_store import GitStore
from pipeline.tracking.oids import git_blob
from tests.unit.lineage.handmade import CODE, Project, make_project

LOCK = b"""schema: '2.0'
stages:
  train:
    cmd: python -m stages.train
    deps:
    - path: data/scenes
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 12
      nfiles: 2
    params:
      params.yaml:
        train:
          lr: 1e-3
    outs:
    - path: models/run.json
      hash: md5
      md5: '12345678901234567890123456789012'
      size: 3
    - path: elsewhere
      hash: etag
"""


def test_dvc_lock_is_read_in_two_ways() -> None:
    lock = DvcLock.parse(LOCK)
    assert lock.outs["models/run.json"] == "12345678901234567890123456789012"
    assert lock.stages["train"].params == {"params.yaml": {"train": {"lr": 0.001}}}
    assert lock.stages["train"].deps == {"data/scenes": "0123456789abcdef0123456789abcdef.dir"}
    assert named(LOCK) == {"data/scenes": "0123456789abcdef0123456789abcdef.dir",
                           "models/run.json": "12345678901234567890123456789012"}


@pytest.mark.parametrize("data", [b"", b"[1]", b"stages: 3", b"a: [", b"\xff\xfe"])
def test_a_damaged_dvc_lock_names_nothing(data: bytes) -> None:
    assert DvcLock.parse(data).outs == {}
    assert named(data) == {}


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'[{"md5": "a"}]', b"\xff"])
def test_a_damaged_list_of_a_folder_is_none(data: bytes) -> None:
    assert listing(data) == {}


def test_the_cache_is_where_dvc_is_told(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    elsewhere = tmp_path / "shared"
    (tmp_path / ".dvc/config").write_text(f"[cache]\n    dir = {elsewhere}\n")
    assert DvcStore(tmp_path).cache is None
    path = elsewhere / "files/md5/ab/cd"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert DvcStore(tmp_path).cached("abcd") == path
    assert DvcStore(tmp_path).cached("abce") is None
    (tmp_path / "inner").mkdir()
    assert DvcStore(tmp_path / "inner").cached("abcd") == path
    (tmp_path / ".dvc/config").write_text("[nonsense\n")
    assert DvcStore(tmp_path).cached("abcd") is None


def test_a_remote_without_its_plugin_says_so(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(
        "['remote \"b\"']\n    url = s3://bucket/x\n['remote \"a\"']\n    url = /nowhere\n[core]\n    remote = b\n")
    first, second = DvcStore(tmp_path).remotes
    assert (first.name, second.name) == ("b", "a")
    assert first.read("ab" * 16, lambda stream: stream.read()) is None
    assert "dvc-s3" in first.failure
    assert second.read("ab" * 16, lambda stream: stream.read()) is None
    assert second.failure == ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("stores") / "project")


def test_git_has_blobs_and_versions(made: Project) -> None:
    path = made.file(CODE)
    old = path.read_bytes()
    path.write_bytes(b"newer\n")
    made.commit()
    path.write_bytes(b"aside\n")
    made.git("checkout", "--quiet", "-b", "aside")
    made.commit()
    made.git("update-ref", "refs/exps/ab/cd/name", "HEAD")
    made.git("checkout", "--quiet", "main")
    made.git("branch", "-D", "aside")
    store = GitStore(made.root)
    blobs = [git_blob(old), git_blob(b"aside\n"), "0" * 40]
    assert store.blobs(blobs) == {blobs[0]: old, blobs[1]: b"aside\n"}
    versions = list(store.versions(CODE))
    assert (versions[0].where, versions[0].data) == ("HEAD", b"newer\n")
    assert {held.data for held in versions} == {b"newer\n", b"aside\n", old}
    assert list(store.versions("no such file")) == []
    assert GitStore(made.root / "pipeline").blobs(blobs[:1]) == {blobs[0]: old}
    assert next(GitStore(made.root / "pipeline").versions("code.py")).data == b"newer\n"


def test_outside_of_git_nothing_is_held(tmp_path: Path) -> None:
    store = GitStore(tmp_path / "none")
    assert store.blobs(["0" * 40]) == {}
    assert list(store.versions("x")) == []


def test_a_list_in_the_cache_is_what_dvc_writes(made: Project) -> None:
    path = made.cached("data/raw")
    entries = json.loads(path.read_bytes())
    assert hashlib.md5(path.read_bytes()).hexdigest() == path.parent.name + path.name.removesuffix(".dir")
    assert listing(path.read_bytes()) == {entry["relpath"]: entry["md5"] for entry in entries}


class Refused(Exception):
    """No OSError, as those of botocore or google-auth are not."""


def test_a_remote_whose_plugin_raises_its_own_errors_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc_objects.fs.local import LocalFileSystem

    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"['remote \"a\"']\n    url = {tmp_path}/store\n")

    def refuse(*_: object) -> None:
        raise Refused("no credentials")

    kept = tmp_path / "store/files/md5/ab" / ("ab" * 15)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"x")
    (remote,) = DvcStore(tmp_path).remotes
    assert remote.read("ab" * 16, refuse) is None
    assert remote.failure == "no credentials"
    (remote,) = DvcStore(tmp_path).remotes
    monkeypatch.setattr(LocalFileSystem, "open", refuse)
    assert remote.read("ab" * 16, lambda stream: stream.read()) is None
    assert remote.failure == "no credentials"


def test_what_a_remote_lacks_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc_objects.fs.local import LocalFileSystem

    asked = []
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"['remote \"a\"']\n    url = {tmp_path}/store\n")

    def missing(_: object, path: str, *__: object) -> None:
        asked.append(path)
        raise FileNotFoundError(path)

    (remote,) = DvcStore(tmp_path).remotes
    monkeypatch.setattr(LocalFileSystem, "open", missing)
    for oid in ("ab" * 16, "ab" * 16, "cd" * 16):
        assert remote.read(oid, lambda stream: stream.read()) is None
    assert len(asked) == 2
    assert remote.failure == ""
