"""Pixels that tell offsets of the labels apart, tile by tile, from train ground only: what registration counts.

Only pixels matter whose label differs between offsets, and only those count within whose reach all labels and all of
the image are valid train ground: so the same pixels are judged under every offset, and held-out ground has no say. Of
large scenes an even part of them is enough.

Shape legend: N pixels, B bands, K classes, Q codes, M parts, Y and X offsets, 2 colours of a chequerboard.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.features.codebook import Codebook
from pipeline.params.spatial_split import RegistrationParams
from pipeline.scenes.store import Scene
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, UInt8Array, Window

#: Pixels a codebook is grown from.
SAMPLE = 40_000

#: Pixels that are judged in a scene, and in a tile at least.
_PIXELS, _TILE_PIXELS = 1_000_000, 2_000


@dataclass(frozen=True)
class Sample:
    """Pixels of all tiles; how many they were drawn from, and how many classes their labels have."""

    pixels_NB: AnyArray
    total: int
    classes: int


@dataclass(frozen=True)
class LabelTile:
    """The pixels of one window whose label depends on the offset.

    `flat` indexes the window with its margin, as `labels` has it; offsets run from -margin to margin.
    """

    window: Window
    margin: int
    labels: UInt8Array
    pixels_NB: AnyArray
    flat: npt.NDArray[np.intp]

    def offsets(self, scale: int) -> Iterator[tuple[int, int, npt.NDArray[np.intp]]]:
        """Index of each offset (Y, X), and `scale` times the label each pixel gets when labels are moved by it."""
        scaled, width = self.labels.ravel().astype(np.intp) * scale, self.labels.shape[1]
        farthest = self.margin * (width + 1)
        first = self.flat - farthest
        for y in range(2 * self.margin + 1):
            for x in range(2 * self.margin + 1):
                moved = (y - self.margin) * width + x - self.margin
                yield y, x, scaled[farthest - moved:].take(first)

    def color(self, side: int) -> npt.NDArray[np.intp]:
        """Colour, 0 or 1, of each pixel on a chequerboard of squares of `side` pixels over the scene, shape N."""
        rows, cols = np.divmod(self.flat, self.labels.shape[1])
        color: npt.NDArray[np.intp] = ((rows - self.margin + self.window.row) // side
                                       + (cols - self.margin + self.window.col) // side) % 2
        return color

    def scores(self, codebook: Codebook, log_odds_2KQ: AnyArray, part_px: int, side: int) -> AnyArray:
        """Summed log-odds, those of the other colour's pixels, of each part and offset, shape MYX."""
        codes = codebook.encode(self.pixels_NB).astype(np.intp)
        rows, cols = np.divmod(self.flat, self.labels.shape[1])
        columns = -(-self.window.width // part_px)
        part = (rows - self.margin) // part_px * columns + (cols - self.margin) // part_px
        parts = -(-self.window.height // part_px) * columns
        scores = np.zeros((parts, 2 * self.margin + 1, 2 * self.margin + 1))
        _, classes, base = log_odds_2KQ.shape
        odds, cell = log_odds_2KQ[::-1].ravel(), self.color(side) * classes * base + codes
        for y, x, label in self.offsets(base):
            label += cell
            scores[:, y, x] = np.bincount(part, odds.take(label), minlength=parts)
        return scores

    def part_corners(self, part_px: int) -> tuple[AnyArray, AnyArray]:
        """Row and column in the scene of the first pixel of each part."""
        rows = self.window.row + np.arange(0, self.window.height, part_px)
        cols = self.window.col + np.arange(0, self.window.width, part_px)
        return np.repeat(rows, len(cols)), np.tile(cols, len(rows))


@dataclass(frozen=True)
class LabelTiles:
    """The tiles of a scene that hold label boundaries on train ground, read one at a time.

    `classes` counts unlabelled ground, whose id is the last.
    """

    scene: Scene
    split: Split
    classes: int
    params: RegistrationParams

    @cached_property
    def fold(self) -> UInt8Array:
        """Fold ids (memory-mapped)."""
        return self.split.fold_map(self.scene.id)

    @property
    def margin(self) -> int:
        """The reach, and one more for the neighbours of its outermost offsets."""
        return self.params.reach_px + 1

    @property
    def offsets(self) -> int:
        """Offsets along an axis."""
        return 2 * self.margin + 1

    def __iter__(self) -> Iterator[LabelTile]:
        height, width, side = *self.scene.grid.shape, self.params.tile_px
        for row in range(0, height, side):
            for col in range(0, width, side):
                tile = self._read(Window(row, col, min(side, height - row), min(side, width - col)))
                if len(tile.flat):
                    yield tile

    @property
    def count(self) -> int:
        """Tiles in all, with or without a label boundary."""
        height, width = self.scene.grid.shape
        return -(-height // self.params.tile_px) * -(-width // self.params.tile_px)

    def sample(self) -> Sample:
        """Pixels to grow a codebook from: an equal number of every tile, evenly spaced."""
        share = max(64, SAMPLE // self.count)
        pixels, seen, total = [np.empty((0, len(self.scene.bands)))], np.zeros(256, dtype=np.bool_), 0
        for tile in self:
            pixels.append(tile.pixels_NB[:: max(1, len(tile.flat) // share)])
            seen[tile.labels.ravel()[tile.flat]] = True
            total += len(tile.flat)
        return Sample(np.concatenate(pixels), total, int(np.count_nonzero(seen)))

    def counts(self, codebook: Codebook, side: int) -> AnyArray:
        """Pixels by colour, class and code under each offset, shape YX2KQ."""
        cells = self.classes * codebook.codes
        counts = np.zeros((self.offsets, self.offsets, 2 * cells), dtype=np.int64)
        for tile in self:
            cell = tile.color(side) * cells + codebook.encode(tile.pixels_NB)
            for y, x, label in tile.offsets(codebook.codes):
                label += cell
                counts[y, x] += np.bincount(label, minlength=2 * cells)
        return counts.reshape(self.offsets, self.offsets, 2, self.classes, codebook.codes)

    def _read(self, window: Window) -> LabelTile:
        margin, (height, width) = self.margin, self.scene.grid.shape
        inside = (slice(max(0, window.row - margin), min(height, window.row + window.height + margin)),
                  slice(max(0, window.col - margin), min(width, window.col + window.width + margin)))
        shape = (window.height + 2 * margin, window.width + 2 * margin)
        place = (slice(inside[0].start - window.row + margin, inside[0].stop - window.row + margin),
                 slice(inside[1].start - window.col + margin, inside[1].stop - window.col + margin))
        train = np.zeros(shape, dtype=np.bool_)
        train[place] = self.split.mask(self.fold[inside], "train")
        train[place] &= self.scene.valid[inside] > 0
        labels = np.full(shape, self.classes - 1, dtype=np.uint8)
        labels[place] = self.scene.labels_raw[inside]
        labels[(labels == IGNORE_INDEX) | ~train] = self.classes - 1
        flat = np.flatnonzero(_telling(labels, train, margin))
        flat = flat[:: max(1, -(-len(flat) // max(_TILE_PIXELS, _PIXELS // self.count)))]
        rows, cols = np.divmod(flat, shape[1])
        pixels = self.scene.image[window.slices][rows - margin, cols - margin]
        finite = np.isfinite(pixels).all(axis=1)
        return LabelTile(window, margin, labels, pixels[finite], flat[finite])


def _telling(labels: UInt8Array, train: BoolArray, margin: int) -> BoolArray:
    """Pixels off the margin with nothing but train ground within it, and more than one label there."""
    side = 2 * margin + 1
    first = ndimage.minimum_filter(labels, side, mode="nearest")
    last = ndimage.maximum_filter(labels, side, mode="nearest")
    known = ndimage.minimum_filter(train.view(np.uint8), side, mode="constant", cval=0) > 0
    telling: BoolArray = known & (first != last)
    telling[:margin] = telling[-margin:] = False
    telling[:, :margin] = telling[:, -margin:] = False
    return telling
