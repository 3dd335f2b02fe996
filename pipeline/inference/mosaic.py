"""Stitched maps, as they leave the tiles: class ids and confidence from probabilities."""

import numpy as np

from pipeline.types import IGNORE_INDEX, BoolArray, FloatArray, UInt8Array


def decide(probs_KHW: FloatArray, valid_HW: BoolArray) -> tuple[UInt8Array, FloatArray]:
    """Class ids (uint8, 255 where invalid) and confidence (largest probability, NaN where invalid), both HW."""
    classes = probs_KHW.argmax(axis=0).astype(np.uint8)
    confidence = probs_KHW.max(axis=0)
    classes[~valid_HW] = IGNORE_INDEX
    confidence[~valid_HW] = np.nan
    return classes, confidence
