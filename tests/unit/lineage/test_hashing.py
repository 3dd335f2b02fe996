"""Digests of files, each file read once, and what cannot be read is said."""

import hashlib
import io
import os
from pathlib import Path

import pytest

from pipeline.lineage import hashing
from pipeline.lineage.hashing import Digests, hash_files, hash_stream


def expected(data: bytes) -> Digests:
    return Digests(hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 9 << 20])
def test_digests_are_those_of_hashlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert hash_files([path]) == {path: expected(data)}
    monkeypatch.setattr(hashing, "_LARGE", 1)  # the way of large files: two threads, a buffer each
    assert hash_files([path]) == {path: expected(data)}
    assert hash_stream(io.BytesIO(data)) == expected(data)


def test_two_names_of_one_file_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, read = tmp_path / "a", tmp_path / "b", []
    first.write_bytes(b"content")
    os.link(first, second)
    own = hashing._hash
    monkeypatch.setattr(hashing, "_hash", lambda path, *rest: read.append(path) or own(path, *rest))
    assert hash_files([first, second, first]) == {first: expected(b"content"), second: expected(b"content")}
    assert read == [first]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    assert hash_files([tmp_path, tmp_path / "none"]) == {}


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashing, "_in_turn", refuse)
    assert "Input/output error" in hash_files([path])[path].problem
