"""Whole objects of a class (connected areas, 8 neighbours): which are found, and which predicted ones are
false.

What is compared is pixels of the scored part only, so that neither train ground nor sealed ground has a say
in the result. A truth object is a connected area on `visible` ground (train and val ground when val is
scored: a block edge between them does not cut it in two); it is counted if more than half of its visible
pixels lie in the part, and judged by its pixels there. Predicted objects are the connected areas of the
prediction inside the part.

Shape legend: H rows, W columns, N counted truth objects.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.types import AnyArray, BoolArray

_EIGHT = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True)
class ObjectMatch:
    """Outcome for one class: one flag a counted truth object, and numbers of predicted objects.

    A truth object is found if some predicted object overlaps it with at least the asked IoU. A predicted
    object is false if it overlaps no truth object (counted here or not) with that IoU.
    """

    found_N: BoolArray
    predicted: int
    false: int

    def merge(self, other: "ObjectMatch") -> "ObjectMatch":
        """Objects of both, such as of two scenes."""
        return ObjectMatch(np.concatenate([self.found_N, other.found_N]), self.predicted + other.predicted,
                           self.false + other.false)


def match_objects(truth_HW: BoolArray, predicted_HW: BoolArray, part_HW: BoolArray, visible_HW: BoolArray,
                  min_iou: float) -> ObjectMatch:
    """Match the objects of one class.

    Args:
        truth_HW: pixels whose true class is the one in question.
        predicted_HW: pixels predicted as that class.
        part_HW: scored pixels (in the part, valid, truth known).
        visible_HW: pixels whose truth may be looked at; must hold wherever `part_HW` does.
        min_iou: least intersection over union of a match, above 0.
    """
    true_ids, true_n = ndimage.label(truth_HW & visible_HW, structure=_EIGHT)
    predicted_ids, predicted_n = ndimage.label(predicted_HW & part_HW, structure=_EIGHT)
    whole = np.bincount(true_ids.ravel(), minlength=true_n + 1)
    true_in, predicted_in = true_ids[part_HW].astype(np.int64), predicted_ids[part_HW].astype(np.int64)
    true_area = np.bincount(true_in, minlength=true_n + 1)
    predicted_area = np.bincount(predicted_in, minlength=predicted_n + 1)
    true_hit, predicted_hit = _matched_pairs(true_in, predicted_in, true_area, predicted_area, min_iou)
    counted = 2 * true_area > whole
    counted[0] = False
    found = np.zeros(true_n + 1, dtype=np.bool_)
    found[true_hit] = True
    return ObjectMatch(found[counted], int(predicted_n), int(predicted_n - np.unique(predicted_hit).size))


def _matched_pairs(true_in: AnyArray, predicted_in: AnyArray, true_area: AnyArray, predicted_area: AnyArray,
                   min_iou: float) -> tuple[AnyArray, AnyArray]:
    """Ids of truth and predicted objects of every pair with enough overlap."""
    both = (true_in > 0) & (predicted_in > 0)
    pairs, shared = np.unique(true_in[both] * len(predicted_area) + predicted_in[both], return_counts=True)
    true, predicted = np.divmod(pairs, len(predicted_area))
    union = true_area[true] + predicted_area[predicted] - shared
    enough = shared >= min_iou * union
    return true[enough], predicted[enough]
