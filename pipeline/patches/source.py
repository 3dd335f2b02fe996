"""Patches as training draws them: the same patch for the same (seed, epoch, index), whoever asks.

Shape legend: C channels, H rows, W columns (patch size).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from pipeline.features.channels import ChannelRecipe
from pipeline.patches.cut import cut
from pipeline.patches.draws import Draws
from pipeline.patches.ground import TrainGround
from pipeline.seeding import generator
from pipeline.types import AnyArray, FloatArray, UInt8Array, Window

#: Changes the bands of a window (float32 BHW in scene units, NaN = invisible) at random, before channels are computed.
Photometric = Callable[[FloatArray, np.random.Generator], FloatArray]


@dataclass(frozen=True, slots=True)
class Patch:
    """One training patch as it was cut; arrays may be views of memory maps, copied once, into a batch.

    Image, labels and weight may hold anything where training must not look: a batch hides it by `ground` and `valid`.
    """

    #: HWC values in scene units, of any number type; NaN where a channel is undefined.
    image: AnyArray
    #: uint8 HW: 0 = out of sight, 1 = visible but without label, 2 = visible and may be labelled.
    ground: UInt8Array
    #: uint8 HW: 1 where there is data, else 0.
    valid: UInt8Array
    #: uint8 HW class ids; 255 = ignore.
    labels: UInt8Array
    #: float32 HW confidence from 0 to 1.
    weight: FloatArray
    #: Flip and quarter turn still to be made, 0 to 7 (see pipeline.patches.batch.turned).
    turn: int
    scene_id: str
    window: Window


class PatchSource(Protocol):
    """Anything training can draw patches from; pickled into worker processes."""

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch; depends on nothing else."""
        ...


class WindowPatches:
    """Windows around labelled train pixels drawn uniformly, the pixel anywhere in the window.

    Every labelled train pixel can be drawn. Windows stay inside scenes that are large enough; smaller scenes are padded
    with invisible pixels.
    """

    def __init__(self, grounds: Sequence[TrainGround], recipe: ChannelRecipe, size_px: int, seed: int,
                 flips_and_rotations: bool, photometric: Photometric | None = None) -> None:
        self._grounds = grounds
        self._recipe = recipe
        self._seed = seed
        self._photometric = photometric
        self._size = size_px
        self._ends = np.cumsum([g.labelled for g in grounds])
        self._draws = Draws(seed, int(self._ends[-1]), size_px, 8 if flips_and_rotations else 1)

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch."""
        drawn = self._draws(epoch, index)
        place = int(self._ends.searchsorted(drawn.number, side="right"))
        ground = self._grounds[place]
        row, col = ground.pixel(drawn.number - (int(self._ends[place - 1]) if place else 0))
        height, width = ground.scene.grid.shape
        window = Window(_inside(row - drawn.row_shift, height, self._size),
                        _inside(col - drawn.col_shift, width, self._size), self._size, self._size)
        change = None
        if self._photometric is not None:
            change = partial(self._change, self._photometric, epoch, index)
        return Patch(*cut(ground, window, self._recipe, change), drawn.turn, ground.scene.id, window)

    def _change(self, photometric: Photometric, epoch: int, index: int, image_BHW: FloatArray) -> FloatArray:
        return photometric(image_BHW, generator(self._seed, "photometric", epoch, index))


def _inside(start: int, length: int, size: int) -> int:
    return max(0, min(start, length - size))
