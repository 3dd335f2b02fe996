"""What training may see of a scene: visible pixels, and the labels it may learn from, read window by window.

Held-out pixels (val, test) are invisible: they reach the network as invalid, with label 255. Train pixels within the
buffer of held-out ground are visible but carry no label. Nothing of a scene's size is held: the split's ground map, the
validity and the labels stay in their memory maps, and only counts by row are kept.

Shape legend: H rows, W columns (of the window asked for).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.errors import SplitError
from pipeline.geo.windows import row_bands
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.split import GROUND_OUTSIDE, GROUND_TRAINS, Split
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, FloatArray, UInt8Array, Window

#: Pixels looked at in one go when a whole scene is walked through.
BAND_PIXELS = 262_144


def scene_bands(scene: Scene, least_rows: int = 1) -> list[Window]:
    """Full-width row bands of a scene, of about BAND_PIXELS pixels but no fewer than `least_rows` rows each."""
    return list(row_bands(*scene.grid.shape, max(least_rows, BAND_PIXELS // scene.grid.width)))


@dataclass(frozen=True)
class TrainGround:
    """The train side of one scene; windows asked of it must lie inside the scene."""

    scene: Scene
    split: Split
    #: Labelled pixels up to and including each row, int64, for uniform draws without an index of all pixels.
    cumulative_rows: AnyArray
    #: Labelled pixels by class id of the split, 256 int64.
    class_pixels: AnyArray
    #: Whether every class of the store that occurs here keeps its id in the split, which then need not be looked up.
    keeps_ids: bool

    def __getstate__(self) -> dict[str, Any]:
        """Without opened maps, which would be copied whole into worker processes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _maps(self) -> tuple[UInt8Array, UInt8Array, UInt8Array]:
        """Ground, validity and labels as plain arrays over the memory maps (slicing np.memmap itself is slow)."""
        scene = self.scene
        return np.asarray(self.split.ground_map(scene.id)), np.asarray(scene.valid), np.asarray(scene.labels)

    @cached_property
    def image_HWB(self) -> AnyArray:
        """The scene's values as a plain array over the memory map; meaningless where not visible."""
        return np.asarray(self.scene.image)

    @cached_property
    def weight_HW(self) -> FloatArray:
        """The weights of labels as a plain array over the memory map; meaningless where there is no label."""
        return np.asarray(self.scene.weight)

    @property
    def labelled(self) -> int:
        """Number of labelled train pixels."""
        return int(self.cumulative_rows[-1])

    def views(self, window: Window) -> tuple[UInt8Array, UInt8Array, UInt8Array]:
        """Ground map, validity and class ids of the split, uint8 HW, as the files have them: for `masked`."""
        ground, valid, labels = (values[window.slices] for values in self._maps)
        return ground, valid, labels if self.keeps_ids else self.split.lut.take(labels)

    def visible(self, window: Window) -> BoolArray:
        """Train pixels with data, bool HW."""
        ground, valid, _ = self.views(window)
        return np.asarray((ground != GROUND_OUTSIDE) & (valid == 1))

    def labels(self, window: Window) -> UInt8Array:
        """Class ids of the split, uint8 HW; 255 wherever no label may be learnt."""
        return masked(*(view.copy() for view in self.views(window)))[1]

    def pixel(self, number: int) -> tuple[int, int]:
        """Row and column of the labelled pixel of that number, counted row by row from 0."""
        row = int(self.cumulative_rows.searchsorted(number, side="right"))
        before = int(self.cumulative_rows[row - 1]) if row else 0
        ground, valid, labels = (values[row] for values in self._maps)
        labelled = (labels if self.keeps_ids else self.split.lut.take(labels)) != IGNORE_INDEX
        labelled &= ground == GROUND_TRAINS
        labelled &= valid == 1
        return row, int(labelled.nonzero()[0][number - before])


def masked(ground: UInt8Array, valid: UInt8Array, labels: UInt8Array) -> tuple[BoolArray, UInt8Array]:
    """Where training may see pixels, and the labels it may learn from (255 elsewhere), from copies of `views`.

    Arithmetic in place on contiguous bytes, which takes a tenth of the time of masked assignments: all three arrays (of
    any one shape, also stacked) are overwritten, and the results lie in the first and the last.
    """
    ground *= valid
    np.not_equal(ground, GROUND_TRAINS, out=valid.view(np.bool_))
    labels |= np.negative(valid, out=valid)
    return np.not_equal(ground, GROUND_OUTSIDE, out=ground.view(np.bool_)), labels


def open_ground(store: SceneStore, split: Split) -> list[TrainGround]:
    """The train side of every scene that has labelled train pixels.

    Raises:
        SplitError: no scene has any.
    """
    kept = [ground for scene in store if (ground := _counted(scene, split)).labelled]
    if not kept:
        raise SplitError("the train part must have labelled pixels: got none outside the buffer; "
                         "make spatial_split.buffer_m smaller or its blocks larger")
    return kept


def _counted(scene: Scene, split: Split) -> TrainGround:
    """Walk through a scene once and count its labelled train pixels, by row and by class."""
    identity = np.arange(256, dtype=np.uint8)
    bare = TrainGround(scene, split, np.zeros(1, dtype=np.int64), np.zeros(256, dtype=np.int64), keeps_ids=True)
    rows, store_classes = [], np.zeros(256, dtype=np.int64)
    for band in scene_bands(scene):
        labels = bare.labels(band)
        rows.append((split.lut.take(labels) != IGNORE_INDEX).sum(axis=1))
        store_classes += np.bincount(labels.ravel(), minlength=256)
    class_pixels = np.bincount(split.lut, weights=store_classes, minlength=256).astype(np.int64)
    class_pixels[IGNORE_INDEX] = 0
    keeps_ids = bool((split.lut == identity)[store_classes > 0].all())
    return TrainGround(scene, split, np.concatenate(rows).cumsum(dtype=np.int64), class_pixels, keeps_ids)


def class_counts(grounds: Sequence[TrainGround], classes: int) -> AnyArray:
    """Labelled train pixels by class id, int64."""
    return sum((g.class_pixels[:classes] for g in grounds), start=np.zeros(classes, dtype=np.int64))
