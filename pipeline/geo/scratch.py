"""Arrays as large as a scene that take disk and no memory: memory maps of files without a name."""

import math
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import KumulusError
from pipeline.types import AnyArray


def scratch_array(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None = None) -> AnyArray:
    """A writable array of zeros in a file that has no name: it goes with the array, even after a kill.

    Args:
        shape: of the array.
        dtype: of the array.
        folder: which disk to take; None takes the one for temporary files (TMPDIR).

    Raises:
        KumulusError: there is no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # else a full disk would kill the process later
            return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    except OSError as error:
        remedy = "make room there" if folder else "make room there, or set TMPDIR to a folder that has it"
        raise KumulusError(f"scratch space for a scene must fit into {folder or tempfile.gettempdir()}: "
                           f"{size / 2**20:.0f} MiB did not, {error.strerror}; {remedy}") from error
