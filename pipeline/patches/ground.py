"""What training may see of a scene: visible pixels, and the labels it may learn from.

Held-out pixels (val, test) are invisible: they reach the network as invalid, with label 255. Train pixels within the
buffer of held-out ground are visible but carry no label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import SplitError
from pipeline.geo.windows import row_bands
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.buffer import train_ground
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, UInt8Array

_ROWS = 512


@dataclass(frozen=True)
class TrainGround:
    """The train side of one scene. `visible_HW`: train pixels with data. `labels_HW`: class ids, 255 = ignore."""

    scene: Scene
    visible_HW: BoolArray
    labels_HW: UInt8Array
    #: Labelled pixels up to and including each row, int64, for uniform draws without an index of all pixels.
    cumulative_rows: AnyArray

    @property
    def labelled(self) -> int:
        """Number of labelled train pixels."""
        return int(self.cumulative_rows[-1])

    def pixel(self, number: int) -> tuple[int, int]:
        """Row and column of the labelled pixel of that number, counted row by row from 0."""
        row = int(np.searchsorted(self.cumulative_rows, number, side="right"))
        before = int(self.cumulative_rows[row - 1]) if row else 0
        cols = np.flatnonzero(self.labels_HW[row] != IGNORE_INDEX)
        return row, int(cols[number - before])


def open_ground(store: SceneStore, split: Split) -> list[TrainGround]:
    """The train side of every scene that has labelled train pixels.

    Raises:
        SplitError: no scene has any.
    """
    grounds = [_ground(scene, split) for scene in store]
    kept = [g for g in grounds if g.labelled]
    if not kept:
        raise SplitError("the train part must have labelled pixels: got none outside the buffer; "
                         "make spatial_split.buffer_m smaller or its blocks larger")
    return kept


def _ground(scene: Scene, split: Split) -> TrainGround:
    fold = split.fold_map(scene.id)
    learn = train_ground(split, scene.id, scene.grid)
    visible = np.zeros(scene.grid.shape, dtype=np.bool_)
    labels = np.full(scene.grid.shape, IGNORE_INDEX, dtype=np.uint8)
    for band in row_bands(*scene.grid.shape, _ROWS):
        s = band.slices
        visible[s] = split.mask(fold[s], "train") & (scene.valid[s] == 1)
        labels[s] = np.where(learn[s] & visible[s], split.lut[scene.labels[s]], IGNORE_INDEX)
    return TrainGround(scene, visible, labels, np.cumsum((labels != IGNORE_INDEX).sum(axis=1), dtype=np.int64))


def class_counts(grounds: Sequence[TrainGround], classes: int) -> AnyArray:
    """Labelled train pixels by class id, int64."""
    return sum((np.bincount(g.labels_HW.ravel(), minlength=256)[:classes] for g in grounds),
               start=np.zeros(classes, dtype=np.int64))
