"""Read a finished split: which pixels are train, val or test, and which classes are told apart.

Layout of data/splits: certificate.json, blocks.gpkg, and for each scene fold.tif and block.tif (see
`pipeline.splits.folds`) and ground.tif (uint8: what training may see, see the GROUND_ values there).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import SplitError
from pipeline.geo.raster_io import memory_map
from pipeline.splits.folds import GROUND_HELD_BACK, GROUND_OUTSIDE, GROUND_TRAINS, Folds, Part
from pipeline.types import IGNORE_INDEX, UInt8Array

__all__ = ["GROUND_HELD_BACK", "GROUND_OUTSIDE", "GROUND_TRAINS", "Part", "Split"]


@dataclass(frozen=True)
class Split(Folds):
    """A finished split. `lut` (256 uint8) maps class ids of the scene store to ids in `classes` (merged)."""

    classes: tuple[str, ...]
    lut: UInt8Array
    #: Classes without the declared support in some part (`report_only`): scored, but flagged.
    unsupported: tuple[str, ...]
    #: Blocks of several scenes that are one place, as tuples of ids; all other blocks are places of their own.
    shared_places: tuple[tuple[int, ...], ...] = ()
    #: Fold id -> classes of which it holds too little to be the val part, by the rules the split was made by.
    too_little: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    #: Whether the certificate vouches for every fold as the val part (`support_in: all_folds`), not for one alone.
    vouches_for_all: bool = True
    #: Where <id>/ground.tif lies for a val fold that is not the certificate's; None: beside fold.tif.
    grounds: Path | None = None

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
        too_little = {int(fold): tuple(counts["too_little_of"]) for fold, counts in data.get("by_fold", {}).items()
                      if fold != "test" and counts["too_little_of"]}
        return cls(folder, data["folds"], data["val_fold"], data["buffer_m"], tuple(data["classes"]), lut,
                   tuple(data["unsupported"]), tuple(tuple(ids) for ids in data["shared_places"]), too_little,
                   data.get("support_in", "all_folds") == "all_folds")

    def with_val_fold(self, fold: int, scratch: Path) -> "Split":
        """The same split with another of its folds as the val part; everything else is the certificate's.

        What training may see then is computed as spatial_split would have (equal bytes) into `scratch`/fold<fold>, or
        found there. `self` where the fold is its val fold already.

        Args:
            fold: id of the fold, from 0.
            scratch: a folder for this split alone; it must stay as long as the result is used.

        Raises:
            SplitError: there is no such fold.
        """
        from pipeline.splits.buffer import write_grounds

        if fold == self.val_fold:
            return self
        if not 0 <= fold < self.folds:
            raise SplitError(f"the val part must be a fold of the split, 0 to {self.folds - 1}: got {fold}; "
                             "see spatial_split.folds")
        grounds = scratch / f"fold{fold}"
        other = replace(self, val_fold=fold, grounds=grounds)
        if not grounds.exists():
            write_grounds(other, grounds)
        return other

    def ground_map(self, scene_id: str) -> UInt8Array:
        """What training may see, shape HW (memory-mapped): 0 not train, 1 train without label (buffer), 2 train."""
        return memory_map((self.grounds or self.folder) / scene_id / "ground.tif")

    @property
    def place_of_block(self) -> Mapping[int, int]:
        """Block id -> least block id of its place, for the blocks that share one with a block of another scene."""
        return {block: min(ids) for ids in self.shared_places for block in ids}
