"""What predictions are held against, and which pixels of a scene are scored.

Shape legend: H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.errors import SplitError
from pipeline.scenes.store import Scene
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, TEST_FOLD, AnyArray, BoolArray, UInt8Array

#: Parts that can be scored.
ScoredPart = Literal["val", "test"]


@dataclass(frozen=True)
class Ground:
    """The scored side of one scene.

    `scored_HW`: pixels of the part with data. `visible_HW`: pixels whose truth may be looked at when this
    part is scored; when val is, the truth of test ground stays out of sight. `truths`: name -> class ids HW
    in the split's classes, 255 where unknown or out of sight.
    """

    scene: Scene
    scored_HW: BoolArray
    visible_HW: BoolArray
    block_HW: AnyArray
    truths: Mapping[str, UInt8Array]

    def known(self, truth: str) -> int:
        """Number of scored pixels whose truth of that name is known."""
        return int(np.count_nonzero(self.truths[truth][self.scored_HW] != IGNORE_INDEX)) if truth in self.truths else 0


def open_ground(scene: Scene, split: Split, part: ScoredPart) -> Ground:
    """Masks and truths of one scene for scoring `part`."""
    fold, valid = split.fold_map(scene.id), scene.valid == 1
    visible = valid & (fold < split.folds)
    if part == "test":
        visible |= valid & (fold == TEST_FOLD)
    sources = {"refined": scene.labels, "unrefined": scene.labels_raw}
    if (reference := scene.reference) is not None:
        sources["reference"] = reference
    truths = {}
    for name, classes in sources.items():
        truth = split.lut[classes]
        truth[~visible] = IGNORE_INDEX
        truths[name] = truth
    return Ground(scene, split.mask(fold, part) & valid, visible, split.block_map(scene.id), truths)


def headline_of(grounds: Sequence[Ground]) -> str:
    """The truth that counts most: the independent reference where some of it is known, else the refined labels.

    Raises:
        SplitError: neither is known anywhere in the part.
    """
    for truth in ("reference", "refined"):
        if any(ground.known(truth) for ground in grounds):
            return truth
    raise SplitError("a scored part must have pixels whose label or reference is known: got none; "
                     "label more, or run `dvc repro spatial_split` with another seed")
