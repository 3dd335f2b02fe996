"""Whole-scene maps in memory, for scoring and figures."""

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


def valid_pixels(source: PixelSource, window: Window) -> BoolArray:
    """Where every band of a window has data, boolean HW."""
    return np.asarray(~np.isnan(source.read(window)).any(axis=0), dtype=np.bool_)


def predict_maps(predictor: Predictor, source: PixelSource, tiles: TileParams) -> tuple[UInt8Array, FloatArray]:
    """Class map (uint8 HW, 255 where invalid) and confidence map (float32 HW, NaN where invalid) of a whole scene."""
    classes = np.full(source.grid.shape, IGNORE_INDEX, dtype=np.uint8)
    confidence = np.full(source.grid.shape, np.nan, dtype=np.float32)
    for window, probs in predict(predictor, source, tiles):
        classes[window.slices], confidence[window.slices] = decide(probs, valid_pixels(source, window))
    return classes, confidence
