"""Class weights from train pixel counts."""

from typing import Literal

import numpy as np

from pipeline.types import AnyArray


def class_weights(counts_K: AnyArray, kind: Literal["none", "inverse_sqrt", "inverse"]) -> AnyArray:
    """Weights by class, float64, scaled so that their mean over labelled pixels is 1; absent classes get 0."""
    counts = np.asarray(counts_K, dtype=np.float64)
    present = counts > 0
    power = {"none": 0.0, "inverse_sqrt": -0.5, "inverse": -1.0}[kind]
    weights = np.where(present, np.power(np.maximum(counts, 1), power), 0.0)
    scaled: AnyArray = weights * counts.sum() / (weights * counts).sum()
    return scaled
