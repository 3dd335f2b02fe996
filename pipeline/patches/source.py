"""Patches as training draws them: the same patch for the same (seed, epoch, index), whoever asks.

Shape legend: C bands, H rows, W columns (patch size).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.patches.ground import TrainGround
from pipeline.patches.orient import orient
from pipeline.seeding import generator
from pipeline.types import IGNORE_INDEX, FloatArray, UInt8Array, Window


@dataclass(frozen=True)
class Patch:
    """One training patch and where it was cut."""

    #: float32 CHW scene values; NaN = invalid or held out.
    image: FloatArray
    #: uint8 HW class ids; 255 = ignore.
    labels: UInt8Array
    #: float32 HW confidence from 0 to 1.
    weight: FloatArray
    scene_id: str
    window: Window


class PatchSource(Protocol):
    """Anything training can draw patches from."""

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch; depends on nothing else."""
        ...


class WindowPatches:
    """Windows around labelled train pixels drawn uniformly, the pixel anywhere in the window.

    Every labelled train pixel can be drawn. Windows stay inside scenes that are large enough; smaller scenes are padded
    with invalid pixels.
    """

    def __init__(self, grounds: Sequence[TrainGround], size_px: int, seed: int, flips_and_rotations: bool) -> None:
        self._grounds = grounds
        self._size = size_px
        self._seed = seed
        self._turn = flips_and_rotations
        self._ends = np.cumsum([g.labelled for g in grounds])

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch."""
        rng = generator(self._seed, "patches", epoch, index)
        number = int(rng.integers(self._ends[-1]))
        place = int(np.searchsorted(self._ends, number, side="right"))
        ground = self._grounds[place]
        row, col = ground.pixel(number - (int(self._ends[place - 1]) if place else 0))
        shift_row, shift_col = rng.integers(self._size, size=2)
        height, width = ground.scene.grid.shape
        window = Window(_inside(row - int(shift_row), height, self._size),
                        _inside(col - int(shift_col), width, self._size), self._size, self._size)
        image, labels, weight = cut(ground, window)
        if self._turn:
            turn = int(rng.integers(8))
            image, labels, weight = orient(image, turn), orient(labels, turn), orient(weight, turn)
        return Patch(image, labels, weight, ground.scene.id, window)


def _inside(start: int, length: int, size: int) -> int:
    return max(0, min(start, length - size))


def cut(ground: TrainGround, window: Window) -> tuple[FloatArray, UInt8Array, FloatArray]:
    """Image CHW (NaN where not visible), labels HW and weight HW of a window; padding is invisible, label 255."""
    height, width = ground.scene.grid.shape
    inside = (slice(window.row, min(window.row + window.height, height)),
              slice(window.col, min(window.col + window.width, width)))
    pixels = ground.scene.image[inside]
    rows, cols, bands = pixels.shape
    image = np.full((bands, window.height, window.width), np.nan, dtype=np.float32)
    labels = np.full((window.height, window.width), IGNORE_INDEX, dtype=np.uint8)
    weight = np.zeros((window.height, window.width), dtype=np.float32)
    visible = ground.visible_HW[inside]
    np.copyto(image[:, :rows, :cols], np.moveaxis(pixels, -1, 0), where=visible, casting="unsafe")
    labels[:rows, :cols] = ground.labels_HW[inside]
    np.copyto(weight[:rows, :cols], ground.scene.weight[inside], where=labels[:rows, :cols] != IGNORE_INDEX)
    return image, labels, weight
