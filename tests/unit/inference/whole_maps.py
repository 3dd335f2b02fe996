"""A predictor's class map of a scene, as its windows leave the tiles."""

from collections.abc import Iterator

from pipeline.inference.mosaic import decide
from pipeline.inference.tiles import PixelSource, predict
from pipeline.params.evaluate import TileParams
from pipeline.types import Predictor, UInt8Array, Window


def class_bands(predictor: Predictor, source: PixelSource, tiles: TileParams) -> Iterator[tuple[Window, UInt8Array]]:
    """Full-width windows from top to bottom with their class ids (uint8 HW, 255 where invalid)."""
    for window, probs in predict(predictor, source, tiles):
        yield window, decide(probs, source.valid(window))[0]
