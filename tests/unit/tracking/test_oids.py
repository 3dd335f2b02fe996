"""Ids of files and folders are those that DVC and git give them."""

import hashlib
from pathlib import Path

import pytest

from pipeline.digests import path_sha256
from pipeline.errors import IntegrityError
from pipeline.tracking.oids import artifact_digests, file_digests, folder_oid, git_blob, tracked_files

#: Of "foo\n" and "bar\n"; `printf 'foo\n' | md5sum` and so on.
FOO, BAR = "d3b07384d113edec49eaa6238ad5ff00", "c157a79031e1c40f85931829bc5fc552"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/foo").write_text("foo\n")
    (tmp_path / "out/sub/bar").write_text("bar\n")
    return tmp_path / "out"


def test_file_in_one_pass(folder: Path) -> None:
    found = file_digests(folder / "foo")
    assert (found.md5, found.sha256) == (FOO, hashlib.sha256(b"foo\n").hexdigest())
    with pytest.raises(IntegrityError, match="none must be a file"):
        file_digests(folder / "none")
    with pytest.raises(IntegrityError, match="sub must be a file"):
        file_digests(folder / "sub")


def test_larger_than_a_piece(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # 2.3 MB
    (tmp_path / "large").write_bytes(data)
    found = file_digests(tmp_path / "large")
    assert (found.md5, found.sha256) == (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def test_folder_as_dvc_writes_it(folder: Path) -> None:
    text = f'[{{"md5": "{FOO}", "relpath": "foo"}}, {{"md5": "{BAR}", "relpath": "sub/bar"}}]'
    found = artifact_digests(folder, folder.parent)
    assert found.oid == hashlib.md5(text.encode()).hexdigest() + ".dir"
    assert found.sha256 == path_sha256(folder)
    assert {name: file.md5 for name, file in found.files.items()} == {"foo": FOO, "sub/bar": BAR}
    alone = artifact_digests(folder / "foo", folder.parent)
    assert (alone.oid, alone.sha256, alone.files) == (FOO, path_sha256(folder / "foo"), {})


def test_folder_agrees_with_dvc(folder: Path) -> None:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    names = {"ünïcode.tif": FOO, "a b/c.txt": BAR, "a/b": FOO, "a.txt": BAR, "A": FOO}
    tree = Tree()
    for name, md5 in names.items():
        tree.add(tuple(name.split("/")), Meta(), HashInfo("md5", md5))
    tree.digest()
    assert folder_oid(names) == tree.hash_info.value


def test_what_dvcignore_names_does_not_count(folder: Path) -> None:
    (folder.parent / ".dvcignore").write_text("# note\n__pycache__\n*.tmp\n/other/foo\n")
    (folder / "__pycache__").mkdir()
    for name in ("__pycache__/x", "sub/y.tmp", ".git"):
        (folder / name).write_text("")
    assert tracked_files(folder, folder.parent) == ["foo", "sub/bar"]
    assert tracked_files(folder, folder) == ["__pycache__/x", "foo", "sub/bar", "sub/y.tmp"]  # no .dvcignore there


def test_git_blob() -> None:
    assert git_blob(b"foo\n") == "257cc5642cb1a054f08cc83f2d943e56fd3ebe99"  # printf 'foo\n' | git hash-object --stdin
    assert git_blob(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
