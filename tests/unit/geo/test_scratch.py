from pathlib import Path

import numpy as np

from pipeline.geo.scratch import scratch_array


def test_a_scratch_array_is_a_map_of_a_file_without_a_name(tmp_path: Path) -> None:
    array = scratch_array(tmp_path, (3, 4), np.int32)
    other = scratch_array(tmp_path, (3, 4), np.int32)
    assert isinstance(array, np.memmap)
    assert list(tmp_path.iterdir()) == [], "a kill leaves nothing behind"
    assert (array == 0).all()
    array[1:, 2] = 7
    assert array.sum() == 14
    assert other.sum() == 0
