"""A patch opened for changes: everything that training must not see is hidden before anything else is done.

Shape legend: C channels, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.patches.ground import masked
from pipeline.patches.source import Patch
from pipeline.splits.split import GROUND_OUTSIDE, GROUND_TRAINS
from pipeline.types import IGNORE_INDEX, BoolArray, FloatArray, UInt8Array


@dataclass(frozen=True, slots=True)
class Pixels:
    """Arrays of their own, which may be written to."""

    #: float32 HWC in scene units, NaN where undefined or not visible.
    image: FloatArray
    #: bool HW.
    visible: BoolArray
    #: uint8 HW class ids; 255 where no label may be learnt, also where not visible.
    labels: UInt8Array
    #: float32 HW, 0 where the label is 255.
    weight: FloatArray


def opened(patch: Patch) -> Pixels:
    """Copies of a patch's pixels without what training must not see."""
    visible, labels = masked(patch.ground.copy(), patch.valid.copy(), patch.labels.copy())
    with np.errstate(over="ignore", invalid="ignore"):  # of values that mean nothing
        image = patch.image.astype(np.float32, order="C")
    image[~visible] = np.nan
    return Pixels(image, visible, labels, np.where(labels == IGNORE_INDEX, np.float32(0), patch.weight))


def closed(pixels: Pixels, patch: Patch, donors: Sequence[Patch] = ()) -> Patch:
    """The patch with these pixels, of which the donors gave some."""
    seen = np.where(pixels.labels == IGNORE_INDEX, np.uint8(1), np.uint8(GROUND_TRAINS))
    return Patch(pixels.image, np.where(pixels.visible, seen, np.uint8(GROUND_OUTSIDE)),
                 pixels.visible.astype(np.uint8), pixels.labels, pixels.weight, patch.turn, patch.scene_id,
                 patch.window, tuple(donor.place for donor in donors))
