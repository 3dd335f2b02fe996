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

from pipeline.baselines.focal import window_features
from pipeline.errors import LabelError
from pipeline.geo.windows import flat_bands
from pipeline.metrics.confusion import CountArray
from pipeline.patches.ground import TrainGround
from pipeline.scenes.store import Scene
from pipeline.seeding import generator
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, FloatArray, UInt8Array, Window

#: Pixels whose features are computed at a time.
BAND_PIXELS = 1_000_000


@dataclass(frozen=True)
class Boosting:
    """A fitted classifier of pixels by bands and focal features."""

    classifier: Any
    focal_px: tuple[int, ...]

    def predict(self, scene: Scene, window: Window, wanted_HW: BoolArray) -> UInt8Array:
        """Most probable class of the wanted pixels of a full-width window."""
        result = np.full(wanted_HW.shape, IGNORE_INDEX, dtype=np.uint8)
        if wanted_HW.any():
            features_NF = window_features(scene.image, lambda near: np.asarray(scene.valid[near.slices] == 1), window,
                                          wanted_HW, self.focal_px)
            result[wanted_HW] = self.classifier.predict(features_NF)
        return result


def draw(grounds: Sequence[TrainGround], pixels: int, seed: int) -> list[CountArray]:
    """Labelled train pixels drawn with equal chances from all scenes (all, if fewer): ascending numbers by scene.

    A scene's labelled pixels are numbered from 0 row by row.
    """
    sizes = np.array([ground.labelled for ground in grounds])
    total = int(sizes.sum())
    numbers = generator(seed, "baselines", "pixels").choice(total, size=min(pixels, total), replace=False)
    numbers.sort()
    starts = np.cumsum(sizes) - sizes
    parts = np.split(numbers, np.searchsorted(numbers, starts[1:]))
    return [part - start for part, start in zip(parts, starts, strict=True)]


def train_table(grounds: Sequence[TrainGround], drawn: Sequence[CountArray],
                focal_px: Sequence[int]) -> tuple[FloatArray, AnyArray]:
    """Features NF and class ids N of the drawn train pixels."""
    features, labels = [], []
    for ground, numbers in zip(grounds, drawn, strict=True):
        for window in flat_bands(*ground.scene.grid.shape, BAND_PIXELS):
            last = window.row + window.height - 1
            before = int(ground.cumulative_rows[window.row - 1]) if window.row else 0
            first, end = np.searchsorted(numbers, (before, int(ground.cumulative_rows[last])))
            if first == end:
                continue
            labels_HW = ground.labels(window)
            places = np.flatnonzero(labels_HW != IGNORE_INDEX)[numbers[first:end] - before]
            wanted = np.zeros(labels_HW.shape, dtype=np.bool_)
            wanted.ravel()[places] = True
            features.append(window_features(ground.scene.image, ground.visible, window, wanted, focal_px))
            labels.append(labels_HW[wanted])
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
