"""Counts of a written split, read back from its files band by band: the numbers of the certificate.

Shape legend: P parts (train, val, test), F folds (the test part last), K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.buffer import HELD_OUT, Grids, distances
from pipeline.splits.split import GROUND_OUTSIDE, GROUND_TRAINS, Part, Split
from pipeline.splits.support import PARTS, labelled_band
from pipeline.types import IGNORE_INDEX, TEST_FOLD

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """Counts of one or several scenes; add them up.

    Attributes:
        pixels: valid pixels by part, P.
        labelled: labelled valid pixels by part and class, PK; of train only those outside the buffer.
        by_fold: labelled valid pixels by fold and class, FK; nothing is taken off for the buffer.
        whole: labelled valid pixels by class, K, blocks or not.
        valid: valid pixels.
        leaks: held-out pixels that carry a train label.
        seen: valid held-out pixels (of this scene's folds, or of another's on the same ground) that training sees.
    """

    pixels: Counts
    labelled: Counts
    by_fold: Counts
    whole: Counts
    valid: int
    leaks: int
    seen: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.pixels + other.pixels, self.labelled + other.labelled, self.by_fold + other.by_fold,
                     self.whole + other.whole, self.valid + other.valid, self.leaks + other.leaks,
                     self.seen + other.seen)

    @property
    def train_before_buffer(self) -> int:
        """Labelled pixels of the train part, the buffer's included."""
        return int(self.by_fold.sum() - self.labelled[1:].sum())


@dataclass(frozen=True)
class Survey:
    """What was found in a scene's files: its counts, and the least distances in metres from ground that trains.

    Distances are inf where no such ground lies within a block and the buffer.
    """

    tally: Tally
    to_held_out_m: float
    to_test_m: float


def grids_of(store: SceneStore) -> Grids:
    """Id and grid of every scene."""
    return tuple((scene.id, scene.grid) for scene in store)


def survey(split: Split, scene: Scene, grids: Grids, block_m: float) -> Survey:
    """Read a scene's fold.tif and ground.tif back.

    Args:
        split: the split; fold.tif of every scene must be there.
        scene: the scene.
        grids: id and grid of every scene of the store.
        block_m: side of a block.
    """
    return Survey(_count(split, scene, grids), _least(split, scene, grids, HELD_OUT, block_m),
                  _least(split, scene, grids, ("test",), block_m))


def _count(split: Split, scene: Scene, grids: Grids) -> Tally:
    classes = len(split.classes)
    fold_map, ground_map = split.fold_map(scene.id), split.ground_map(scene.id)
    pixels = np.zeros(len(PARTS), dtype=np.int64)
    labelled, whole = np.zeros((len(PARTS), classes), dtype=np.int64), np.zeros(classes, dtype=np.int64)
    by_fold = np.zeros((256, classes), dtype=np.int64)
    valid_pixels = leaks = seen = 0
    for window, distance in distances(split, scene.id, grids, HELD_OUT, 0.0):
        s = window.slices
        fold, ground, valid = fold_map[s], ground_map[s], scene.valid[s] > 0
        label = labelled_band(scene, split.lut, s)
        known, held_out = label != IGNORE_INDEX, distance == 0
        valid_pixels += int(np.count_nonzero(valid))
        leaks += int(np.count_nonzero((ground == GROUND_TRAINS) & known & held_out))
        seen += int(np.count_nonzero((ground != GROUND_OUTSIDE) & valid & held_out))
        whole += np.bincount(label[known], minlength=classes)
        cells = fold[known].astype(np.int64) * classes + label[known]
        by_fold += np.bincount(cells, minlength=by_fold.size).reshape(by_fold.shape)
        for p, part in enumerate(PARTS):
            mask = split.mask(fold, part)
            pixels[p] += np.count_nonzero(mask & valid)
            counted = mask & known & (ground == GROUND_TRAINS) if part == "train" else mask & known
            labelled[p] += np.bincount(label[counted], minlength=classes)
    folds = by_fold[[*range(split.folds), TEST_FOLD]]
    return Tally(pixels, labelled, folds, whole, valid_pixels, leaks, seen)


def _least(split: Split, scene: Scene, grids: Grids, parts: Sequence[Part], block_m: float) -> float:
    """Least distance from ground that trains to `parts`; looked for just beyond the buffer first."""
    ground = split.ground_map(scene.id)
    for beyond_m in (2 * max(scene.grid.ground_pixel_m), block_m):
        bands = distances(split, scene.id, grids, parts, split.buffer_m + beyond_m)
        least = min(float(distance[ground[window.slices] == GROUND_TRAINS].min(initial=np.inf))
                    for window, distance in bands)
        if np.isfinite(least):
            break
    return least
