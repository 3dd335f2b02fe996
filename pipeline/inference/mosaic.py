"""Stitched maps, as they leave the tiles: class ids and confidence from probabilities."""

from collections.abc import Iterator

import numpy as np

from pipeline.inference.tiles import PixelSource, predict
from pipeline.params.evaluate import TileParams
from pipeline.types import IGNORE_INDEX, BoolArray, FloatArray, Predictor, UInt8Array, Window


def decide(probs_KHW: FloatArray, valid_HW: BoolArray) -> tuple[UInt8Array, FloatArray]:
    """Class ids (uint8, 255 where invalid) and confidence (largest probability, NaN where invalid), both HW."""
    classes = probs_KHW.argmax(axis=0).astype(np.uint8)
    confidence = probs_KHW.max(axis=0)
    classes[~valid_HW] = IGNORE_INDEX
    confidence[~valid_HW] = np.nan
    return classes, confidence


def class_bands(predictor: Predictor, source: PixelSource, tiles: TileParams) -> Iterator[tuple[Window, UInt8Array]]:
    """Full-width windows from top to bottom with their class ids (uint8 HW, 255 where invalid)."""
    for window, probs in predict(predictor, source, tiles):
        yield window, decide(probs, source.valid(window))[0]
