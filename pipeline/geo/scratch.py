"""Arrays as large as a scene that take disk and no memory: memory maps of files without a name."""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.types import AnyArray


def scratch_array(folder: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
    """A writable array of zeros in a file in `folder` that has no name: it goes with the array, even after a kill."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
