"""The eight flips and quarter turns of a square patch (the dihedral group D4)."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

D = TypeVar("D", bound=np.generic)


def orient(array: npt.NDArray[D], turn: int) -> npt.NDArray[D]:
    """The array (..., H, W), mirrored left-right if turn >= 4, then turned `turn % 4` quarters counter-clockwise."""
    mirrored = array[..., ::-1] if turn >= 4 else array
    return np.ascontiguousarray(np.rot90(mirrored, turn % 4, axes=(-2, -1)))
