"""What predictions are held against, and which pixels of a scene are scored.

Shape legend: H rows, W columns.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from pipeline.errors import SplitError
from pipeline.geo.windows import flat_bands
from pipeline.scenes.store import Scene
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, TEST_FOLD, AnyArray, BoolArray, UInt8Array, Window

#: Parts that can be scored.
ScoredPart = Literal["val", "test"]

#: Pixels counted at a time.
_BAND_PIXELS = 1_000_000


@dataclass(frozen=True)
class GroundCut:
    """Some rows and columns of the scored side of a scene.

    `scored_HW`: pixels of the part with data. `visible_HW`: pixels whose truth may be looked at when this
    part is scored; when val is, the truth of test ground stays out of sight. `fold_HW`: fold ids. `truths`: name ->
    class ids HW in the split's classes, 255 where unknown or out of sight.
    """

    scored_HW: BoolArray
    visible_HW: BoolArray
    fold_HW: UInt8Array
    block_HW: AnyArray
    truths: Mapping[str, UInt8Array]


@dataclass(frozen=True)
class Ground:
    """The scored side of one scene, read from its memory maps as it is asked for."""

    scene: Scene
    split: Split
    part: ScoredPart
    #: The folds that are scored as the val part: all where each has members that held it out; () = the split's own.
    folds: tuple[int, ...] = ()
    #: Scored pixels, and how many of them have a known truth, by the truth's name.
    scored: int = 0
    known: Mapping[str, int] = field(default_factory=dict)

    def cut(self, rows: slice, cols: slice) -> GroundCut:
        """Masks, blocks and truths of rows and columns, which may be every n-th."""
        scene, split, place = self.scene, self.split, (rows, cols)
        fold, valid = split.fold_map(scene.id)[place], scene.valid[place] == 1
        visible = valid & (fold < split.folds)
        if self.part == "test":
            visible |= valid & (fold == TEST_FOLD)
        sources = {"refined": scene.labels, "unrefined": scene.labels_raw}
        if (reference := scene.reference) is not None:
            sources["reference"] = reference
        truths = {}
        for name, classes in sources.items():
            truth = split.lut[classes[place]]
            truth[~visible] = IGNORE_INDEX
            truths[name] = truth
        return GroundCut(np.asarray(self._in_part(fold) & valid), np.asarray(visible), np.asarray(fold),
                         split.block_map(scene.id)[place], truths)

    def scored_folds(self, window: Window) -> UInt8Array:
        """Fold ids HW of the scored pixels of a window, 255 elsewhere."""
        fold, valid = self.split.fold_map(self.scene.id)[window.slices], self.scene.valid[window.slices] == 1
        return np.where(self._in_part(fold) & valid, fold, np.uint8(IGNORE_INDEX))

    def _in_part(self, fold_HW: UInt8Array) -> BoolArray:
        if self.part == "val" and self.folds:
            return np.isin(fold_HW, self.folds)
        return self.split.mask(fold_HW, self.part)

    def bands(self) -> Iterator[Window]:
        """The full-width windows in which a scene is counted, top to bottom."""
        return flat_bands(*self.scene.grid.shape, _BAND_PIXELS)


def open_ground(scene: Scene, split: Split, part: ScoredPart, folds: tuple[int, ...] = ()) -> Ground:
    """The side of one scene that is scored with `part`; for val, with these folds (none given: the split's own)."""
    ground = Ground(scene, split, part, folds)
    scored, known = 0, Counter[str]()
    for band in ground.bands():
        cut = ground.cut(*band.slices)
        scored += int(np.count_nonzero(cut.scored_HW))
        for name, truth in cut.truths.items():
            known[name] += int(np.count_nonzero(truth[cut.scored_HW] != IGNORE_INDEX))
    return replace(ground, scored=scored, known=dict(known))


def headline_of(grounds: Sequence[Ground]) -> str:
    """The truth that counts most: the independent reference where some of it is known, else the refined labels.

    Raises:
        SplitError: neither is known anywhere in the part.
    """
    for truth in ("reference", "refined"):
        if any(ground.known.get(truth) for ground in grounds):
            return truth
    raise SplitError("a scored part must have pixels whose label or reference is known: got none; "
                     "label more, or run `dvc repro spatial_split` with another seed")
