"""Gradient boosting on the features of single pixels: the strong baseline (scikit-learn's defaults, nothing
weakened).

Features of train pixels see train ground only: held-out pixels count as invalid in their windows. For
prediction every valid pixel counts, as for the network.

Shape legend: N pixels, F features.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.baselines.focal import feature_bands
from pipeline.errors import LabelError
from pipeline.patches.ground import TrainGround
from pipeline.scenes.store import Scene
from pipeline.seeding import generator
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, FloatArray, UInt8Array


@dataclass(frozen=True)
class Boosting:
    """A fitted classifier of pixels by bands and focal features."""

    classifier: Any
    focal_px: tuple[int, ...]

    def predict(self, scene: Scene, wanted_HW: BoolArray) -> UInt8Array:
        """Most probable class of the wanted pixels."""
        result = np.full(scene.grid.shape, IGNORE_INDEX, dtype=np.uint8)
        for window, features_NF in feature_bands(scene.image, scene.valid == 1, wanted_HW, self.focal_px):
            rows = result[window.slices]
            rows[wanted_HW[window.slices]] = self.classifier.predict(features_NF)
        return result


def draw(grounds: Sequence[TrainGround], pixels: int, seed: int) -> list[BoolArray]:
    """Masks HW, one a scene, of train pixels drawn with equal chances from all scenes (all, if fewer)."""
    sizes = [g.labelled for g in grounds]
    total = sum(sizes)
    drawn = np.zeros(total, dtype=np.bool_)
    drawn[generator(seed, "baselines", "pixels").choice(total, size=min(pixels, total), replace=False)] = True
    masks = []
    for ground, flags in zip(grounds, np.split(drawn, np.cumsum(sizes)[:-1]), strict=True):
        mask = np.zeros(ground.labels_HW.shape, dtype=np.bool_)
        mask[ground.labels_HW != IGNORE_INDEX] = flags
        masks.append(mask)
    return masks


def train_table(grounds: Sequence[TrainGround], masks: Sequence[BoolArray],
                focal_px: Sequence[int]) -> tuple[FloatArray, AnyArray]:
    """Features NF and class ids N of the masked train pixels."""
    features, labels = [], []
    for ground, mask in zip(grounds, masks, strict=True):
        for window, features_NF in feature_bands(ground.scene.image, ground.visible_HW, mask, focal_px):
            features.append(features_NF)
            labels.append(ground.labels_HW[window.slices][mask[window.slices]])
    return np.concatenate(features), np.concatenate(labels)


def fit(grounds: Sequence[TrainGround], pixels: int, focal_px: Sequence[int], seed: int) -> Boosting:
    """Train on pixels drawn from train ground; the same pixels whatever `focal_px`.

    Raises:
        LabelError: fewer than two classes have train pixels.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    features_NF, labels_N = train_table(grounds, draw(grounds, pixels, seed), focal_px)
    counts = np.bincount(labels_N, minlength=256)
    # The classifier's own early stopping holds out a tenth of every class, so a class needs two pixels.
    if lonely := np.flatnonzero(counts == 1).tolist():
        warnings.warn("boosting cannot learn classes of which one train pixel was drawn: leaves out class "
                      f"ids {lonely}; raise evaluate.baselines.boosting_pixels", stacklevel=2)
        enough = counts[labels_N] > 1
        features_NF, labels_N = features_NF[enough], labels_N[enough]
    if np.unique(labels_N).size < 2:
        raise LabelError(f"boosting must have train pixels of two classes: got {np.unique(labels_N).size}; "
                         "set evaluate.baselines.boosting and boosting_focal to false, or label more")
    random_state = int(generator(seed, "baselines", "boosting").integers(2**31))
    classifier = HistGradientBoostingClassifier(random_state=random_state)
    classifier.fit(features_NF, labels_N)
    return Boosting(classifier, tuple(focal_px))
