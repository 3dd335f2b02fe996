"""Read a finished split: which pixels are train, val or test, and which classes are told apart.

Layout of data/splits: certificate.json, blocks.gpkg, and for each scene fold.tif (uint8: fold id, 254 = test,
255 = no block), block.tif (int32: id of the block over all scenes, 0 = no block) and ground.tif (uint8: what training
may see, see the GROUND_ values).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.errors import SplitError
from pipeline.geo.raster_io import memory_map
from pipeline.types import IGNORE_INDEX, TEST_FOLD, AnyArray, BoolArray, UInt8Array

Part = Literal["train", "val", "test"]

#: Values of ground.tif: not train; train, but in the buffer (visible, no label); train that may carry a label.
GROUND_OUTSIDE, GROUND_HELD_BACK, GROUND_TRAINS = 0, 1, 2


@dataclass(frozen=True)
class Split:
    """A finished split. `lut` (256 uint8) maps class ids of the scene store to ids in `classes` (merged)."""

    folder: Path
    folds: int
    val_fold: int
    buffer_m: float
    classes: tuple[str, ...]
    lut: UInt8Array
    #: Classes without the declared support in some part (`report_only`): scored, but flagged.
    unsupported: tuple[str, ...]
    #: Blocks of several scenes that are one place, as tuples of ids; all other blocks are places of their own.
    shared_places: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def open(cls, folder: Path) -> "Split":
        """Read the certificate.

        Raises:
            SplitError: there is no split.
        """
        try:
            data: dict[str, Any] = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SplitError(f"split {folder} must hold certificate.json: not found; "
                             "run `dvc repro spatial_split`") from error
        lut = np.full(256, IGNORE_INDEX, dtype=np.uint8)
        lut[: len(data["class_map"])] = data["class_map"]
        return cls(folder, data["folds"], data["val_fold"], data["buffer_m"], tuple(data["classes"]), lut,
                   tuple(data["unsupported"]), tuple(tuple(ids) for ids in data["shared_places"]))

    def fold_map(self, scene_id: str) -> UInt8Array:
        """Fold ids, shape HW (memory-mapped)."""
        return memory_map(self.folder / scene_id / "fold.tif")

    def block_map(self, scene_id: str) -> AnyArray:
        """Block ids, int32, shape HW (memory-mapped); 0 = no block."""
        return memory_map(self.folder / scene_id / "block.tif")

    def ground_map(self, scene_id: str) -> UInt8Array:
        """What training may see, shape HW (memory-mapped): 0 not train, 1 train without label (buffer), 2 train."""
        return memory_map(self.folder / scene_id / "ground.tif")

    @property
    def place_of_block(self) -> Mapping[int, int]:
        """Block id -> least block id of its place, for the blocks that share one with a block of another scene."""
        return {block: min(ids) for ids in self.shared_places for block in ids}

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
