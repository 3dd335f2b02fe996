"""Draw assignments of places to folds, and take the first that supports every class in every part.

Each attempt has its own random stream and all assignments with the declared sizes are equally likely, so the
one taken is drawn uniformly from the feasible ones (rejection sampling).

Shape legend: A attempts, B blocks, K classes, P parts (train, val, test).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.seeding import generator
from pipeline.splits.support import PARTS, Support
from pipeline.types import TEST_FOLD, AnyArray, BoolArray, UInt8Array

_CHUNK = 64

#: Attempts that are judged class by class to find out which class is to blame.
_BLAME_ATTEMPTS = 2000

#: Attempts in which the buffer's loss is looked up for a message.
_LOSS_ATTEMPTS = 256


@dataclass(frozen=True)
class Assignment:
    """A feasible assignment: fold id of each block (index = id - 1), and how many attempts it took."""

    fold_of_block: UInt8Array
    attempts: int


def part_of_fold(fold: UInt8Array, val_fold: int) -> AnyArray:
    """Index of the part (0 train, 1 val, 2 test) of fold ids."""
    return np.where(fold == TEST_FOLD, PARTS.index("test"),
                    np.where(fold == val_fold, PARTS.index("val"), PARTS.index("train")))


def test_count(places: int, params: SplitParams) -> int:
    """How many places the test part gets.

    Raises:
        SplitError: too few are left to give each fold one.
    """
    count = max(1, round(params.test_fraction * places))
    if places - count < params.folds:
        raise SplitError(
            "spatial_split must find at least one separate block for the test part and each of "
            f"{params.folds} folds: got {places} blocks of {params.block_m:g} m (blocks of overlapping "
            "scenes are one place); lower spatial_split.block_size_m, spatial_split.folds or "
            "spatial_split.test_fraction")
    return count


def draw(seed: int, attempt: int, places: int, params: SplitParams) -> UInt8Array:
    """Fold id of each place: `test_fraction` of them test, the others dealt to the folds in turn."""
    tests = test_count(places, params)
    dealt = np.full(places, TEST_FOLD, dtype=np.uint8)
    dealt[tests:] = np.arange(places - tests) % params.folds
    order = generator(seed, "split", attempt).permutation(places)
    fold = np.empty(places, dtype=np.uint8)
    fold[order] = dealt
    return fold


def find_assignment(support: Support, place: npt.NDArray[np.intp], params: SplitParams, seed: int,
                    required: BoolArray) -> Assignment | None:
    """The first of `params.attempts` draws that supports every required class (K) in every part, or None.

    With `support_in: all_folds`, whichever fold is the validation part.
    """
    for first, folds in _draws(place, params, seed, params.attempts):
        for i in np.flatnonzero(_enough_pixels(support, folds, params)[:, required].all(axis=1)):
            if _supported(support, folds[i], params)[required].all():
                return Assignment(folds[i], first + int(i) + 1)
    return None


@dataclass(frozen=True)
class Rates:
    """Over some draws, by class, K: the share in which every part has enough pixels, and enough objects too.

    `before` and `after` are train's pixels before the buffer and after it, in the draw that leaves most after it.
    """

    pixels: npt.NDArray[np.float64]
    both: npt.NDArray[np.float64]
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]


def support_rates(support: Support, place: npt.NDArray[np.intp], params: SplitParams, seed: int) -> Rates:
    """How often each class is supported in every part, over at most 2000 draws."""
    attempts, classes = min(params.attempts, _BLAME_ATTEMPTS), support.pixels.shape[1]
    pixels, both = np.zeros(classes), np.zeros(classes)
    before, after = np.zeros(classes, dtype=np.int64), np.full(classes, -1, dtype=np.int64)
    for first, folds in _draws(place, params, seed, attempts):
        enough = _enough_pixels(support, folds, params)
        pixels += enough.sum(axis=0)
        for i, fold in enumerate(folds):
            if enough[i].any():
                both += enough[i] & _supported(support, fold, params)
            if first + i >= _LOSS_ATTEMPTS:
                continue
            part = part_of_fold(fold, params.val_fold)
            left = support.train_pixels(part)
            more = left > after
            after[more], before[more] = left[more], support.pixels[part == 0].sum(axis=0)[more]
    return Rates(pixels / attempts, both / attempts, before, after)


def _draws(place: npt.NDArray[np.intp], params: SplitParams, seed: int,
           attempts: int) -> Iterator[tuple[int, UInt8Array]]:
    """Chunks of draws: the first attempt's number, and fold ids of blocks, AB."""
    places = int(place.max(initial=-1)) + 1
    for first in range(0, attempts, _CHUNK):
        folds = [draw(seed, a, places, params) for a in range(first, min(first + _CHUNK, attempts))]
        yield first, np.stack(folds)[:, place]


def _val_folds(params: SplitParams) -> range:
    return range(params.folds) if params.support_in == "all_folds" else range(params.val_fold, params.val_fold + 1)


def _enough_pixels(support: Support, folds: UInt8Array, params: SplitParams) -> BoolArray:
    """Has each class enough pixels in every part of each draw (AB), AK?

    In train only those pixels count that the buffer leaves. Most draws are accepted by the pixels that no buffer could
    ever reach, or refused by all; what remains is only counted for the others.
    """
    enough = np.ones((len(folds), support.pixels.shape[1]), dtype=bool)
    for val_fold in _val_folds(params):
        part = part_of_fold(folds, val_fold)
        for p in range(len(PARTS)):
            enough &= (part == p).astype(np.float64) @ support.pixels >= params.min_pixels  # exact and fast
        safe = (part == 0).astype(np.float64) @ support.core >= params.min_pixels
        for i in np.flatnonzero((enough & ~safe).any(axis=1)):
            enough[i] &= safe[i] | (support.train_pixels(part[i]) >= params.min_pixels)
    return enough


def _supported(support: Support, fold: UInt8Array, params: SplitParams) -> BoolArray:
    """Has each class enough objects in every part of one draw, K?"""
    enough = np.ones(support.pixels.shape[1], dtype=bool)
    for val_fold in _val_folds(params):
        part = part_of_fold(fold, val_fold)
        single = np.stack([support.single[part == p].sum(axis=0) for p in range(len(PARTS))])
        if not (enough & (single.min(axis=0) < params.min_objects)).any():
            continue  # objects in several zones are costly to count
        enough &= (support.objects_by_part(part, params.min_pixels) >= params.min_objects).all(axis=0)
    return enough
