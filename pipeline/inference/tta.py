"""Test-time augmentation: probabilities averaged over the eight flips and turns of a tile (the dihedral group D4).

A network of convolutions does not commute with flips and turns, the ground does; the average does both (Krizhevsky,
Sutskever & Hinton 2012, sec. 4.1, average over flips; the full group as in Cohen & Welling 2016, "p4m").

Shape legend: N images, C channels, K classes, H rows, W columns.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.types import FloatArray

#: The eight views: whether rows and columns change places, then which axes are flipped. The first is the image itself.
VIEWS: tuple[tuple[bool, tuple[int, ...]], ...] = tuple(
    (transposed, axes) for transposed in (False, True) for axes in ((), (-1,), (-2,), (-2, -1))
)


def seen(image_NCHW: FloatArray, view: tuple[bool, tuple[int, ...]]) -> FloatArray:
    """One view of images, NCHW or, transposed, NCWH."""
    transposed, axes = view
    turned = np.swapaxes(image_NCHW, -2, -1) if transposed else image_NCHW
    return np.ascontiguousarray(np.flip(turned, axes) if axes else turned)


def turned_back(probs_NKHW: FloatArray, view: tuple[bool, tuple[int, ...]]) -> FloatArray:
    """What was predicted for a view, where its pixels lie in the image."""
    transposed, axes = view
    upright = np.flip(probs_NKHW, axes) if axes else probs_NKHW
    return np.swapaxes(upright, -2, -1) if transposed else upright


def d4(probabilities: Callable[[FloatArray], FloatArray], image_NCHW: FloatArray) -> list[FloatArray]:
    """Probabilities NKHW from each of VIEWS, one after the other: as many forward passes, the memory of one."""
    return [turned_back(probabilities(seen(image_NCHW, view)), view) for view in VIEWS]


def average(parts: Sequence[FloatArray]) -> FloatArray:
    """The mean of probabilities, added up in the order given, in float32."""
    total = parts[0].astype(np.float32)
    for part in parts[1:]:
        total += part
    total /= np.float32(len(parts))
    return total
