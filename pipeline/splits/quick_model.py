"""A pixel model fitted in about a second: extremely randomized trees (Geurts, Ernst & Wehenkel 2006) on the bands.

It judges splits, it is never delivered. Its results do not depend on the number of threads.

Shape legend: N pixels, B bands, K classes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.seeding import generator
from pipeline.types import AnyArray, BoolArray, FloatArray, UInt8Array

_TREES, _LEAF_PIXELS = 40, 5

#: Cells along each side of the sample's extent; a model never judges a pixel of the cells it has learnt from.
_CELLS = 6

FloatVector = npt.NDArray[np.float64]


class QuickModel:
    """A fitted model. `classes` are the ids it has seen."""

    def __init__(self, trees: Any) -> None:
        self._trees = trees
        self.classes: UInt8Array = trees.classes_.astype(np.uint8)

    @classmethod
    def fit(cls, values_NB: FloatArray, label_N: UInt8Array, seed: int, *path: str | int) -> "QuickModel":
        """Fit on pixels of at least one class; `seed` and `path` choose the random stream."""
        from sklearn.ensemble import ExtraTreesClassifier

        state = int(generator(seed, "quick model", *path).integers(2**31))
        trees = ExtraTreesClassifier(_TREES, min_samples_leaf=_LEAF_PIXELS, random_state=state, n_jobs=1)
        return cls(trees.fit(values_NB, label_N))

    def predict(self, values_NB: FloatArray) -> UInt8Array:
        """The most probable class of each pixel."""
        result: UInt8Array = self._trees.predict(values_NB).astype(np.uint8)
        return result

    def truth_probability(self, values_NB: FloatArray, label_N: UInt8Array) -> FloatVector:
        """Probability given to each pixel's true class; 0 where the model has never seen it."""
        column = np.full(256, -1)
        column[self.classes] = np.arange(len(self.classes))
        found = column[label_N]
        given = self._trees.predict_proba(values_NB)[np.arange(len(label_N)), found]
        return np.where(found >= 0, given, 0.0)


def cross_fitted_residuals(values_NB: FloatArray, label_N: UInt8Array, xyz_N3: AnyArray,
                           seed: int) -> FloatVector | None:
    """1 - p(true class) of each pixel, from a model that was fitted on the other half of the ground.

    Halves are the colours of a checkerboard over the sample's extent. None where a half lacks two classes.
    """
    first = halves(xyz_N3)
    residual = np.zeros(len(label_N))
    for number, learns in enumerate((first, ~first)):
        if np.unique(label_N[learns]).size < 2 or learns.all():
            return None
        model = QuickModel.fit(values_NB[learns], label_N[learns], seed, "half", number)
        residual[~learns] = 1 - model.truth_probability(values_NB[~learns], label_N[~learns])
    return residual


def halves(xyz_N3: AnyArray) -> BoolArray:
    """Which pixels are in the first half: every other of 6 x 6 cells over the two longest axes of the extent.

    Where that leaves one half with less than a fifth, occupied cells are dealt in turn, so that both have some.
    """
    span = np.ptp(xyz_N3, axis=0)
    axes = np.argsort(-span, kind="stable")[:2]
    low, size = xyz_N3[:, axes].min(axis=0), np.maximum(span[axes], 1e-9)
    cells = np.minimum(((xyz_N3[:, axes] - low) / size * _CELLS).astype(np.intp), _CELLS - 1)
    first: BoolArray = cells.sum(axis=1) % 2 == 0
    if not 0.2 <= first.mean() <= 0.8:
        _, place = np.unique(cells[:, 0] * _CELLS + cells[:, 1], return_inverse=True)
        first = place % 2 == 0
    return first
