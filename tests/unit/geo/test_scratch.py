"""A scratch array is a file without a name, and too little room for it is said first."""

import errno
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import KumulusError
from pipeline.geo.scratch import scratch_array


def test_a_scratch_array_is_a_map_of_a_file_without_a_name(tmp_path: Path) -> None:
    array = scratch_array((3, 4), np.int32, tmp_path)
    other = scratch_array((3, 4), np.int32, tmp_path)
    assert isinstance(array, np.memmap)
    assert list(tmp_path.iterdir()) == [], "a kill leaves nothing behind"
    assert (array == 0).all()
    array[1:, 2] = 7
    assert array.sum() == 14
    assert other.sum() == 0


@pytest.mark.parametrize(("named", "remedy"), [(True, "make room there$"), (False, "or set TMPDIR")])
def test_too_little_room_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool,
                                       remedy: str) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(KumulusError, match=f"must fit into {tmp_path}: 1 MiB did not, No space left .*{remedy}"):
        scratch_array((1024, 1024), np.uint8, tmp_path if named else None)
    assert list(tmp_path.iterdir()) == []
