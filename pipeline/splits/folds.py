"""Which fold each pixel lies in, and what that makes it: train, val or test.

Layout of data/splits that is read here: for each scene fold.tif (uint8: fold id, 254 = test, 255 = no block) and
block.tif (int32: id of the block over all scenes, 0 = no block).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.geo.raster_io import memory_map
from pipeline.types import TEST_FOLD, AnyArray, BoolArray, UInt8Array

Part = Literal["train", "val", "test"]

#: Values of ground.tif: not train; train, but in the buffer (visible, no label); train that may carry a label.
GROUND_OUTSIDE, GROUND_HELD_BACK, GROUND_TRAINS = 0, 1, 2


@dataclass(frozen=True)
class Folds:
    """The folds of a written split, and the one of them that is the val part."""

    folder: Path
    folds: int
    val_fold: int
    buffer_m: float

    def fold_map(self, scene_id: str) -> UInt8Array:
        """Fold ids, shape HW (memory-mapped)."""
        return memory_map(self.folder / scene_id / "fold.tif")

    def block_map(self, scene_id: str) -> AnyArray:
        """Block ids, int32, shape HW (memory-mapped); 0 = no block."""
        return memory_map(self.folder / scene_id / "block.tif")

    def mask(self, fold_HW: UInt8Array, part: Part) -> BoolArray:
        """Pixels of a part, given (a window of) the fold map."""
        mask: BoolArray
        match part:
            case "test":
                mask = fold_HW == TEST_FOLD
            case "val":
                mask = fold_HW == self.val_fold
            case "train":
                mask = (fold_HW < self.folds) & (fold_HW != self.val_fold)
        return mask
