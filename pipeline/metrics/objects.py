"""Whole objects of a class (connected areas, 8 neighbours): which are found, and which predicted ones are
false.

What is compared is pixels of the scored part only, so that neither train ground nor sealed ground has a say
in the result. A truth object is a connected area on `visible` ground (train and val ground when val is
scored: a block edge between them does not cut it in two); it is counted if more than half of its visible
pixels lie in the part, and judged by its pixels there. Predicted objects are the connected areas of the
prediction inside the part.

Shape legend: H rows, W columns, N counted truth objects, M predicted objects.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.metrics.confusion import CountArray
from pipeline.types import AnyArray, BoolArray

_EIGHT = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True)
class ObjectMatch:
    """Outcome for one class: one flag and one block for each counted truth object and each predicted object.

    The block of an object is the one that holds most of its pixels in the part (of equals, that of the lowest id). A
    truth object is found if some predicted object overlaps it with at least the asked IoU. A predicted
    object is false if it overlaps no truth object (counted here or not) with that IoU.
    """

    found_N: BoolArray
    block_N: CountArray
    false_M: BoolArray
    predicted_block_M: CountArray

    @property
    def predicted(self) -> int:
        """Number of predicted objects."""
        return len(self.false_M)

    @property
    def false(self) -> int:
        """Number of those that are false."""
        return int(self.false_M.sum())

    def merge(self, other: "ObjectMatch") -> "ObjectMatch":
        """Objects of both, such as of two scenes."""
        return ObjectMatch(np.concatenate([self.found_N, other.found_N]),
                           np.concatenate([self.block_N, other.block_N]),
                           np.concatenate([self.false_M, other.false_M]),
                           np.concatenate([self.predicted_block_M, other.predicted_block_M]))


class ObjectMatcher:
    """Matches the objects of one class in one scene, shown from top to bottom in bands of full rows.

    What it keeps grows with the objects, not with the pixels.
    """

    def __init__(self, min_iou: float) -> None:
        """`min_iou`: least intersection over union of a match, above 0."""
        self._min_iou = min_iou
        self._true, self._predicted = _Areas(), _Areas()
        self._whole: list[CountArray] = []
        self._true_area: list[CountArray] = []
        self._predicted_area: list[CountArray] = []
        #: Rows: piece of a truth object, piece of a predicted object, pixels in both.
        self._shared: list[CountArray] = []
        #: Rows: piece of a truth object, block, pixels of the piece in the part and the block.
        self._blocks: list[CountArray] = []
        #: The same of predicted objects.
        self._predicted_blocks: list[CountArray] = []

    def add(self, truth_HW: BoolArray, predicted_HW: BoolArray, part_HW: BoolArray, visible_HW: BoolArray,
            block_HW: AnyArray) -> None:
        """Show the next band.

        Args:
            truth_HW: pixels whose true class is the one in question.
            predicted_HW: pixels predicted as that class.
            part_HW: scored pixels (in the part, valid, truth known).
            visible_HW: pixels whose truth may be looked at; must hold wherever `part_HW` does.
            block_HW: block ids, from 0.
        """
        true_HW, true_before = self._true.add(truth_HW & visible_HW)
        called_HW, predicted_before = self._predicted.add(predicted_HW & part_HW)
        true_n, predicted_n = self._true.count - true_before + 1, self._predicted.count - predicted_before + 1
        true_in, predicted_in = true_HW[part_HW].astype(np.int64), called_HW[part_HW].astype(np.int64)
        self._whole.append(np.bincount(true_HW.ravel(), minlength=true_n)[1:])
        self._true_area.append(np.bincount(true_in, minlength=true_n)[1:])
        self._predicted_area.append(np.bincount(predicted_in, minlength=predicted_n)[1:])
        both = (true_in > 0) & (predicted_in > 0)
        pairs, shared = np.unique(true_in[both] * predicted_n + predicted_in[both], return_counts=True)
        true, predicted = np.divmod(pairs, predicted_n)
        self._shared.append(np.stack([true + true_before, predicted + predicted_before, shared]))
        block_in = block_HW[part_HW].astype(np.int64)
        self._blocks.append(_by_block(true_in, block_in, true_before))
        self._predicted_blocks.append(_by_block(predicted_in, block_in, predicted_before))

    def result(self) -> ObjectMatch:
        """The outcome over all bands shown; objects in the order of their first pixels."""
        true_of, predicted_of = self._true.objects(), self._predicted.objects()
        whole, true_area = _summed(true_of, self._whole), _summed(true_of, self._true_area)
        predicted_area = _summed(predicted_of, self._predicted_area)
        none = np.zeros((3, 0), dtype=np.int64)
        pieces = np.concatenate([none, *self._shared], axis=1)
        true_hit, predicted_hit = _matched_pairs(true_of[pieces[0]], predicted_of[pieces[1]], pieces[2], true_area,
                                                 predicted_area, self._min_iou)
        counted = 2 * true_area > whole
        counted[0] = False
        found = np.zeros(len(whole), dtype=np.bool_)
        found[true_hit] = True
        false = np.ones(len(predicted_area), dtype=np.bool_)
        false[predicted_hit] = False
        block = _main_block(true_of, np.concatenate([none, *self._blocks], axis=1), len(whole))
        predicted_block = _main_block(predicted_of, np.concatenate([none, *self._predicted_blocks], axis=1),
                                      len(predicted_area))
        return ObjectMatch(found[counted], block[counted], false[1:], predicted_block[1:])


class _Areas:
    """Connected areas over bands: each band's pieces are numbered on from 1, and joined to those of the row above."""

    def __init__(self) -> None:
        self.count = 0
        self._joins: list[AnyArray] = []
        self._last: AnyArray = np.zeros(0, dtype=np.int64)

    def add(self, mask_HW: BoolArray) -> tuple[AnyArray, int]:
        """Pieces of a band numbered from 1, int32 HW (0 = none), and the number of pieces before it."""
        before = self.count
        pieces_HW, found = ndimage.label(mask_HW, structure=_EIGHT)
        first, last = (np.where(row > 0, row.astype(np.int64) + before, 0) for row in (pieces_HW[0], pieces_HW[-1]))
        if before:
            for above, below in ((self._last, first), (self._last[1:], first[:-1]), (self._last[:-1], first[1:])):
                meet = (above > 0) & (below > 0)
                self._joins.append(np.unique(np.stack([above[meet], below[meet]]), axis=1))
        self._last = last
        self.count += int(found)
        return pieces_HW, before

    def objects(self) -> AnyArray:
        """Object of each piece, from 1 in the order of their first pixels; index 0 (no piece) is object 0."""
        joins = np.concatenate([np.zeros((2, 0), dtype=np.int64), *self._joins], axis=1)
        links = coo_array((np.ones(joins.shape[1]), (joins[0], joins[1])), shape=(self.count + 1, self.count + 1))
        _, component = connected_components(links, directed=False)
        _, first_piece, place = np.unique(component, return_index=True, return_inverse=True)
        rank = np.empty(len(first_piece), dtype=np.int64)
        rank[np.argsort(first_piece)] = np.arange(len(first_piece))
        return rank[place]


def _by_block(piece_P: CountArray, block_P: CountArray, before: int) -> CountArray:
    """Rows piece (numbered on from `before`), block, pixels, of the pixels that belong to a piece."""
    own, blocks = piece_P > 0, int(block_P.max(initial=0)) + 1
    places, pixels = np.unique(piece_P[own] * blocks + block_P[own], return_counts=True)
    piece, block = np.divmod(places, blocks)
    return np.stack([piece + before, block, pixels])


def _summed(object_of: AnyArray, pieces: list[CountArray]) -> CountArray:
    """Pixels of each object, from those of its pieces; index 0 is no object."""
    sums: CountArray = np.zeros(int(object_of.max()) + 1, dtype=np.int64)
    np.add.at(sums, object_of[1:], np.concatenate([np.zeros(0, dtype=np.int64), *pieces]))
    return sums


def _main_block(object_of: AnyArray, pieces: CountArray, objects: int) -> CountArray:
    """The block with most pixels of each object, from rows piece, block, pixels; 0 for objects without any."""
    pairs, place = np.unique(np.stack([object_of[pieces[0]], pieces[1]]), axis=1, return_inverse=True)
    pixels = np.zeros(pairs.shape[1], dtype=np.int64)
    np.add.at(pixels, place.ravel(), pieces[2])
    order = np.lexsort((-pairs[1], pixels, pairs[0]))  # the last of each object is the one
    result: CountArray = np.zeros(objects, dtype=np.int64)
    result[pairs[0][order]] = pairs[1][order]
    return result


def _matched_pairs(true: AnyArray, predicted: AnyArray, pixels: AnyArray, true_area: CountArray,
                   predicted_area: CountArray, min_iou: float) -> tuple[AnyArray, AnyArray]:
    """Truth and predicted object of every pair with enough overlap, from the pixels their pieces share."""
    pairs, place = np.unique(true * len(predicted_area) + predicted, return_inverse=True)
    shared = np.zeros(len(pairs), dtype=np.int64)
    np.add.at(shared, place, pixels)
    true, predicted = np.divmod(pairs, len(predicted_area))
    union = true_area[true] + predicted_area[predicted] - shared
    enough = shared >= min_iou * union
    return true[enough], predicted[enough]
