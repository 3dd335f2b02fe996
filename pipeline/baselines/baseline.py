"""What every baseline is, and the two that learn nothing from pixels: majority class and index rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.features.indices import compute
from pipeline.params.evaluate import ThresholdRule
from pipeline.scenes.store import Scene
from pipeline.types import IGNORE_INDEX, BoolArray, UInt8Array, Window


class Baseline(Protocol):
    """A method that is ready to predict."""

    def predict(self, scene: Scene, window: Window, wanted_HW: BoolArray) -> UInt8Array:
        """Class ids HW (of the split's classes) of a window's wanted pixels, which must be valid; 255 elsewhere."""
        ...


@dataclass(frozen=True)
class Majority:
    """Calls everything by the class with most labelled train pixels."""

    class_id: int

    def predict(self, scene: Scene, window: Window, wanted_HW: BoolArray) -> UInt8Array:
        """The one class wherever wanted."""
        return np.where(wanted_HW, np.uint8(self.class_id), np.uint8(IGNORE_INDEX))


@dataclass(frozen=True)
class IndexRules:
    """Thresholds on spectral indices, the first rule that holds wins; what no rule claims is background.

    `targets` are the class ids of the rules; `scale` turns digital numbers into reflectance by division.
    """

    rules: Sequence[ThresholdRule]
    targets: Sequence[int]
    background: int
    scale: float

    def predict(self, scene: Scene, window: Window, wanted_HW: BoolArray) -> UInt8Array:
        """Apply the rules; an index that is undefined at a pixel (NaN) does not exceed its threshold."""
        result = np.full(wanted_HW.shape, IGNORE_INDEX, dtype=np.uint8)
        if not wanted_HW.any():
            return result
        image = np.where(wanted_HW[..., None], scene.image[window.slices], np.nan).astype(np.float32)
        image /= np.float32(self.scale)
        classes = np.full(wanted_HW.shape, self.background, dtype=np.uint8)
        for rule, target in reversed(list(zip(self.rules, self.targets, strict=True))):
            classes[compute(rule.index, image, scene.bands) > rule.above] = target
        result[wanted_HW] = classes[wanted_HW]
        return result
