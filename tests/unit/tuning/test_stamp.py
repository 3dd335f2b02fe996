"""Data that changes while a study runs is seen, whoever writes it and however."""

import os
from pathlib import Path

import pytest

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.tuning.stamp import moved, require, stamp


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path)
    for folder in (made.scenes / "one", made.splits):
        folder.mkdir(parents=True)
        (folder / "file").write_text("before")
    return made


def test_written_replaced_new_and_missing_files_are_named(paths: Paths) -> None:
    file, before = paths.scenes / "one/file", stamp(paths)
    assert moved(before, stamp(paths)) == ""
    assert set(before) == {"data/scenes/one/file", "data/splits/file"}
    status = file.stat()
    (paths.root / "new").write_text("behind")  # as long, and as old as what it takes the place of
    os.utime(paths.root / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (paths.root / "new").rename(file)
    assert moved(before, stamp(paths)) == "data/scenes/one/file"
    before = stamp(paths)
    os.utime(file, ns=(0, 0))
    assert moved(before, stamp(paths)) == "data/scenes/one/file"
    before = stamp(paths)
    (paths.splits / "another").touch()
    assert moved(before, stamp(paths)) == "data/splits/another"
    before = stamp(paths)
    (paths.splits / "file").unlink()
    assert moved(before, stamp(paths)) == "data/splits/file"


def test_data_of_another_digest_is_refused(paths: Paths) -> None:
    digests = {"scenes": folder_sha256(paths.scenes), "splits": folder_sha256(paths.splits)}
    require(paths, digests)
    (paths.splits / "file").write_text("after")
    with pytest.raises(ModelError, match=r"data/splits must stay as it is while a study runs: it has changed since"):
        require(paths, digests)
