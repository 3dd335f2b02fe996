"""Counts of a written split, read back from its files band by band: the numbers of the certificate.

Shape legend: P parts (train, val, test), F folds (the test part last), K classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import IntegrityError
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.buffer import HELD_OUT, Grids, distances
from pipeline.splits.gap import least_gaps
from pipeline.splits.split import GROUND_OUTSIDE, GROUND_TRAINS, Split
from pipeline.splits.support import PARTS, ObjectTally, counted, labelled_band
from pipeline.types import IGNORE_INDEX, TEST_FOLD, AnyArray, BoolArray

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
        objects: objects by part and class, PK, where ground that several scenes show counts once; see `support`.
        leaks: held-out pixels that carry a train label.
        seen: valid held-out pixels (of this scene's folds, or of another's on the same ground) that training sees.
    """

    pixels: Counts
    labelled: Counts
    by_fold: Counts
    whole: Counts
    valid: int
    objects: Counts
    leaks: int
    seen: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.pixels + other.pixels, self.labelled + other.labelled, self.by_fold + other.by_fold,
                     self.whole + other.whole, self.valid + other.valid, self.objects + other.objects,
                     self.leaks + other.leaks, self.seen + other.seen)

    @property
    def train_before_buffer(self) -> int:
        """Labelled pixels of the train part, the buffer's included."""
        return int(self.by_fold.sum() - self.labelled[1:].sum())


@dataclass(frozen=True)
class Survey:
    """What was found in a scene's files.

    Attributes:
        tally: counts.
        fold_of_block: fold id of the blocks that block.tif shows, by id from 0 on; -1 for all others.
        to_held_out_m: least distance in metres from ground that trains to held-out ground of any scene; inf where there
            is none within a block and the buffer.
        to_test_m: the same for test ground.
    """

    tally: Tally
    fold_of_block: npt.NDArray[np.int64]
    to_held_out_m: float
    to_test_m: float


def grids_of(store: SceneStore) -> Grids:
    """Id and grid of every scene."""
    return tuple((scene.id, scene.grid) for scene in store)


def survey(split: Split, scene: Scene, grids: Grids, block_m: float, counts: BoolArray, min_pixels: int) -> Survey:
    """Read a scene's fold.tif, block.tif and ground.tif back.

    Args:
        split: the split; fold.tif of every scene must be there.
        scene: the scene.
        grids: id and grid of every scene of the store.
        block_m: side of a block.
        counts: blocks whose objects count, by id from 0 on.
        min_pixels: so many let an object count for a part that does not hold most of it.

    Raises:
        IntegrityError: fold.tif and block.tif do not agree.
    """
    least = least_gaps(split, scene.id, grids, split.buffer_m + block_m)
    return Survey(_count(split, scene, grids, counts, min_pixels), _folds(split, scene.id, len(counts)),
                  min(least.values()), least["test"])


def _folds(split: Split, scene_id: str, blocks: int) -> npt.NDArray[np.int64]:
    fold_map, block_map = split.fold_map(scene_id), split.block_map(scene_id)
    found = np.full(blocks, -1, dtype=np.int64)
    found[0] = IGNORE_INDEX
    rows = max(1, 4_000_000 // fold_map.shape[1])
    torn = np.zeros(blocks, dtype=bool)
    for first in range(0, fold_map.shape[0], rows):
        fold, block = fold_map[first:first + rows].astype(np.int64), block_map[first:first + rows]
        new = found[block] < 0
        found[block[new]] = fold[new]
        torn[block[found[block] != fold]] = True
    if torn.any():
        raise IntegrityError(f"fold.tif and block.tif of scene {scene_id} must give every block one fold: "
                             f"{np.count_nonzero(torn)} have several; report the defect")
    found[0] = -1
    return found


def _part_zones(split: Split, fold: AnyArray, ground: AnyArray) -> AnyArray:
    """Part of each pixel, and for train pixels that carry no label the number of parts."""
    zone = np.full(fold.shape, -1, dtype=np.int8)
    for p, part in enumerate(PARTS):
        zone[split.mask(fold, part)] = p
    zone[(zone == 0) & (ground != GROUND_TRAINS)] = len(PARTS)
    return zone


def _objects(held: Any, class_of: npt.NDArray[np.intp], min_pixels: int, classes: int) -> Counts:
    """Objects by part and class, from pixels by object and part (sparse), in the buffer last."""
    whole = np.zeros((len(class_of), len(PARTS) + 1))
    whole[held.row, held.col] = held.data
    left = whole[:, :len(PARTS)].copy()
    whole[:, 0] += whole[:, len(PARTS)]
    return counted(whole[:, :len(PARTS)], left, class_of, min_pixels, classes)


def _count(split: Split, scene: Scene, grids: Grids, counts: BoolArray, min_pixels: int) -> Tally:
    classes = len(split.classes)
    fold_map, ground_map, block_map = (f(scene.id) for f in (split.fold_map, split.ground_map, split.block_map))
    objects = ObjectTally(scene.grid.width)
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
        zone = _part_zones(split, fold, ground)
        objects.add(label, zone, (zone >= 0) & counts[block_map[s]])
        cells = fold[known].astype(np.int64) * classes + label[known]
        by_fold += np.bincount(cells, minlength=by_fold.size).reshape(by_fold.shape)
        for p, part in enumerate(PARTS):
            mask = split.mask(fold, part)
            pixels[p] += np.count_nonzero(mask & valid)
            counted = mask & known & (ground == GROUND_TRAINS) if part == "train" else mask & known
            labelled[p] += np.bincount(label[counted], minlength=classes)
    folds = by_fold[[*range(split.folds), TEST_FOLD]]
    return Tally(pixels, labelled, folds, whole, valid_pixels,
                 _objects(*objects.finish(), min_pixels, classes), leaks, seen)
