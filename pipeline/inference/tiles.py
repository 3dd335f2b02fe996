"""Predict a raster of any size tile by tile; overlapping tiles are blended and finished rows leave at once.

The tile grid depends on the raster's size and TileParams only and tiles go through the network one at a time, so the
same model on the same raster gives the same bytes wherever it is called.

Shape legend: C bands, K classes, H rows, W columns.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from pipeline.errors import ModelError
from pipeline.geo.grid import Grid
from pipeline.geo.windows import tile_starts
from pipeline.params.evaluate import TileParams
from pipeline.types import BoolArray, FloatArray, Predictor, Window

#: Names of maps that are made together.
N = TypeVar("N", bound=Hashable)

#: From a function that reads a tile (channels 1CHW, size_px square, NaN off the scene) and its window inside the scene
#: to probabilities KHW (size_px square) by name.
TileWork = Callable[[Callable[[], FloatArray], Window], Mapping[N, FloatArray]]


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

    def whole(read: Callable[[], FloatArray], _: Window) -> Mapping[str, FloatArray]:
        return {"": predictor.probabilities(read())[0]}

    for window, probs in predict_each(whole, [""], predictor.bands, len(predictor.classes), source, tiles):
        yield window, probs[""]


def predict_each(work: TileWork[N], names: Sequence[N], bands: Sequence[str], classes: int, source: PixelSource,
                 tiles: TileParams) -> Iterator[tuple[Window, dict[N, FloatArray]]]:
    """As `predict`, for several maps at once, by name: every tile is read once, whatever the number of maps.

    Memory is that of one row of tiles for each map.

    Args:
        work: makes a tile's probabilities, by name of the map. A name it leaves out for a tile adds nothing there:
            pixels all of whose tiles it serves come out as they would alone, others mean nothing.
        names: of all maps.
        bands: what `work` wants to read, in order.
        classes: number of classes.
        source: the raster.
        tiles: size and overlap.

    Raises:
        ModelError: the source's bands are not those wanted by name and count.
    """
    if set(source.bands) != set(bands) or len(source.bands) != len(bands):
        raise ModelError(f"scene channels must be the model's {list(bands)}: got {list(source.bands)}")
    order = [source.bands.index(b) for b in bands]
    height, width = source.grid.shape
    size = tiles.size_px
    rows, cols = tile_starts(height, size, tiles.overlap_px), tile_starts(width, size, tiles.overlap_px)
    blend = _blend_weights(size, tiles.overlap_px)
    sums = {name: np.zeros((classes, size, width), dtype=np.float32) for name in names}
    weights = np.zeros((size, width), dtype=np.float32)
    progress = tqdm(total=len(rows) * len(cols), desc="predict", unit="tile", disable=None, leave=False)
    for i, row in enumerate(rows):
        for col in cols:
            inside = Window(row, col, min(size, height - row), min(size, width - col))
            for name, probs in work(partial(_tile, source, inside, order, size), inside).items():
                weighted = (probs * blend)[:, : inside.height, : inside.width]
                sums[name][:, : inside.height, col:col + inside.width] += weighted
            weights[: inside.height, col:col + inside.width] += blend[: inside.height, : inside.width]
            progress.update()
        done = (rows[i + 1] if i + 1 < len(rows) else height) - row
        yield Window(row, 0, done, width), {name: total[:, :done] / weights[:done] for name, total in sums.items()}
        sums, weights = {name: _advance(total, done) for name, total in sums.items()}, _advance(weights, done)
    progress.close()


def _tile(source: PixelSource, inside: Window, order: Sequence[int], size: int) -> FloatArray:
    """A tile's channels 1CHW, invalid where it reaches off the scene."""
    image = np.full((1, len(order), size, size), np.nan, dtype=np.float32)
    image[0, :, : inside.height, : inside.width] = source.read(inside)[order]
    return image


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
