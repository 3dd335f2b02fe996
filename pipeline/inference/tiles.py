"""Predict a raster of any size tile by tile; overlapping tiles are blended and finished rows leave at once.

The tile grid depends on the raster's size and TileParams only and tiles go through the network one at a time, so the
same model on the same raster gives the same bytes wherever it is called.

Shape legend: C bands, K classes, H rows, W columns.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from tqdm import tqdm

from pipeline.errors import ModelError
from pipeline.geo.grid import Grid
from pipeline.geo.windows import tile_starts
from pipeline.params.evaluate import TileParams
from pipeline.types import BoolArray, FloatArray, Predictor, Window


class PixelSource(Protocol):
    """Pixels of one raster, by window: its bands, or the channels a recipe makes of them."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands or channels in the order `read` gives them."""
        ...

    def read(self, window: Window) -> FloatArray:
        """float32 CHW values of a window inside the grid; NaN means invalid, or undefined there."""
        ...

    def valid(self, window: Window) -> BoolArray:
        """Where the scene has data in every band, boolean HW: what a map must cover."""
        ...


def predict(predictor: Predictor, source: PixelSource, tiles: TileParams) -> Iterator[tuple[Window, FloatArray]]:
    """Full-width windows from top to bottom with their blended probabilities KHW, covering each pixel once.

    Memory is that of one row of tiles. Weights of the blend fall linearly towards a tile's edge over the overlap.

    Raises:
        ModelError: the source's bands are not the predictor's by name and count.
    """
    if set(source.bands) != set(predictor.bands) or len(source.bands) != len(predictor.bands):
        raise ModelError(f"scene channels must be the model's {list(predictor.bands)}: got {list(source.bands)}")
    order = [source.bands.index(b) for b in predictor.bands]
    height, width = source.grid.shape
    size = tiles.size_px
    rows, cols = tile_starts(height, size, tiles.overlap_px), tile_starts(width, size, tiles.overlap_px)
    classes = len(predictor.classes)
    blend = _blend_weights(size, tiles.overlap_px)
    sums = np.zeros((classes, size, width), dtype=np.float32)
    weights = np.zeros((size, width), dtype=np.float32)
    progress = tqdm(total=len(rows) * len(cols), desc="predict", unit="tile", disable=None, leave=False)
    for i, row in enumerate(rows):
        for col in cols:
            inside = Window(row, col, min(size, height - row), min(size, width - col))
            image = np.full((len(order), size, size), np.nan, dtype=np.float32)
            image[:, : inside.height, : inside.width] = source.read(inside)[order]
            probs = predictor.probabilities(image[None])[0]
            weighted = (probs * blend)[:, : inside.height, : inside.width]
            sums[:, : inside.height, col:col + inside.width] += weighted
            weights[: inside.height, col:col + inside.width] += blend[: inside.height, : inside.width]
            progress.update()
        done = (rows[i + 1] if i + 1 < len(rows) else height) - row
        yield Window(row, 0, done, width), sums[:, :done] / weights[:done]
        sums, weights = _advance(sums, done), _advance(weights, done)
    progress.close()


def _advance(buffer: FloatArray, rows: int) -> FloatArray:
    """The buffer moved down by `rows`: finished rows leave at the top, zeros come in at the bottom."""
    moved = np.zeros_like(buffer)
    kept = buffer.shape[-2] - rows
    moved[..., :kept, :] = buffer[..., rows:, :]
    return moved


def _blend_weights(size: int, overlap: int) -> FloatArray:
    """Weights of a tile's pixels, (size, size): 1 inside, falling linearly to 1/(overlap+1) at the edges."""
    distance = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)
    ramp = np.minimum(distance / (overlap + 1), 1.0).astype(np.float32)
    return ramp[:, None] * ramp[None, :]
