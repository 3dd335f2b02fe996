"""Parts of another patch put into a patch, with their labels, weights and visibility.

A part keeps its place in the window. Channels travel with their pixels: the texture at a seam is that of the ground the
part comes from.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.patches.augment.pixels import Pixels
from pipeline.types import BoolArray


def cutmix(pixels: Pixels, donor: Pixels, rng: np.random.Generator) -> None:
    """Put what is visible in a rectangle of the donor into the patch.

    Yun et al. (2019), CutMix: sides of sqrt(1 - lambda) of the patch's with lambda uniform from 0 to 1, centre uniform,
    clipped; labels are not mixed but come with their pixels, as French et al. (2020) do for segmentation.
    """
    height, width = pixels.visible.shape
    side = np.sqrt(1 - rng.random())
    inside = np.zeros((height, width), dtype=bool)
    rows, cols = (_extent(length, side, rng) for length in (height, width))
    inside[rows, cols] = True
    _put(pixels, donor, inside & donor.visible)


def _extent(length: int, side: float, rng: np.random.Generator) -> slice:
    """Where a rectangle of that relative side lies along one axis."""
    centre, half = int(rng.integers(length)), int(length * side) // 2
    return slice(max(0, centre - half), min(length, centre + half))


def copy_paste(pixels: Pixels, donor: Pixels, class_ids: Sequence[int]) -> None:
    """Put the donor's labelled pixels of some classes into the patch, onto ground that is visible.

    Ghiasi et al. (2021), Simple Copy-Paste: objects without their surroundings, here as classes of pixels.
    """
    _put(pixels, donor, np.isin(donor.labels, class_ids) & pixels.visible)


def _put(pixels: Pixels, donor: Pixels, where_HW: BoolArray) -> None:
    for target, source in ((pixels.image, donor.image), (pixels.visible, donor.visible),
                           (pixels.labels, donor.labels), (pixels.weight, donor.weight)):
        np.copyto(target, source, where=where_HW[..., None] if target.ndim == 3 else where_HW)
