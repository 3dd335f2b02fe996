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
from pipeline.patches.ground import TrainGround
from pipeline.patches.samplers import Sampler
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
    #: Places of other patches of which it has parts.
    donors: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it was cut, and after a + where parts of it were, for messages."""
        return " + ".join((f"{self.scene_id} row {self.window.row} col {self.window.col}", *self.donors))


class PatchSource(Protocol):
    """Anything training can draw patches from; pickled into worker processes."""

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch; depends on nothing else."""
        ...


class WindowPatches:
    """Windows of the train ground where a sampler places them.

    Args:
        grounds: the scenes the sampler's places refer to.
        recipe: how channels come from bands.
        sampler: where patches are cut.
        seed: of the photometric changes.
        photometric: changes of the bands, if any.
    """

    def __init__(self, grounds: Sequence[TrainGround], recipe: ChannelRecipe, sampler: Sampler, seed: int,
                 photometric: Photometric | None = None) -> None:
        self._grounds = grounds
        self._recipe = recipe
        self._sampler = sampler
        self._seed = seed
        self._photometric = photometric

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch."""
        place = self._sampler.place(epoch, index)
        ground = self._grounds[place.ground]
        change = None
        if self._photometric is not None:
            change = partial(self._change, self._photometric, epoch, index)
        return Patch(*cut(ground, place.window, self._recipe, change), place.turn, ground.scene.id, place.window)

    def _change(self, photometric: Photometric, epoch: int, index: int, image_BHW: FloatArray) -> FloatArray:
        return photometric(image_BHW, generator(self._seed, "photometric", epoch, index))
