"""Running counts of one part over all scenes: what every figure in metrics.json is computed from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pipeline.errors import IntegrityError
from pipeline.evaluation.truths import Ground
from pipeline.metrics.confusion import Confusion, CountArray, merge_blocks, per_block
from pipeline.metrics.objects import ObjectMatch, match_objects
from pipeline.types import IGNORE_INDEX, BoolArray, UInt8Array

#: (method, member). `network` is what export writes; of an ensemble (member -1) its members are scored as
#: `network_member` too.
Method = tuple[str, int]


@dataclass
class Tally:
    """Counts by truth and method.

    `headline` is the truth that objects are matched with; `objects`: class name -> id of the classes whose are.
    """

    classes: Sequence[str]
    headline: str
    objects: Mapping[str, int]
    object_iou: float
    confusions: dict[str, dict[Method, dict[int, Confusion]]] = field(default_factory=dict)
    #: method -> block -> pixels by [zone id, predicted class], shape (256, K).
    zones: dict[Method, dict[int, CountArray]] = field(default_factory=dict)
    matches: dict[str, dict[Method, ObjectMatch]] = field(default_factory=dict)
    scene_of_block: dict[int, str] = field(default_factory=dict)

    def add(self, ground: Ground, method: Method, predicted_HW: UInt8Array) -> None:
        """Count one method's map of one scene.

        Raises:
            IntegrityError: a scored pixel has no prediction.
        """
        missing = int(np.count_nonzero(predicted_HW[ground.scored_HW] == IGNORE_INDEX))
        if missing:
            raise IntegrityError(f"{method[0]} must predict every valid pixel of the scored part of scene "
                                 f"{ground.scene.id}: {missing} pixels have none; check its validity mask")
        block_N, predicted_N = ground.block_HW[ground.scored_HW], predicted_HW[ground.scored_HW]
        self.scene_of_block.update({int(b): ground.scene.id for b in np.unique(block_N)})
        for name, truth_HW in ground.truths.items():
            counted = per_block(truth_HW[ground.scored_HW], predicted_N, block_N, len(self.classes))
            blocks = self.confusions.setdefault(name, {}).setdefault(method, {})
            self.confusions[name][method] = merge_blocks(blocks, counted)
        if (zones_HW := ground.scene.zones) is not None:
            self._add_zones(method, zones_HW[ground.scored_HW], predicted_N, block_N)
        for name, class_id in self.objects.items() if self.headline in ground.truths else ():
            self._add_objects(ground, method, name, predicted_HW == class_id, class_id)

    def _add_zones(self, method: Method, zone_N: UInt8Array, predicted_N: UInt8Array,
                   block_N: CountArray) -> None:
        ids, place_N = np.unique(block_N, return_inverse=True)
        shape = (ids.size, 256, len(self.classes))
        cells = np.ravel_multi_index((place_N, zone_N, predicted_N), shape)
        counts = np.bincount(cells, minlength=math.prod(shape)).reshape(shape)
        self.zones.setdefault(method, {}).update(zip(ids.tolist(), counts, strict=True))

    def _add_objects(self, ground: Ground, method: Method, name: str, predicted_HW: BoolArray,
                     class_id: int) -> None:
        truth_HW = ground.truths[self.headline]
        known = truth_HW != IGNORE_INDEX
        match = match_objects(truth_HW == class_id, predicted_HW, ground.scored_HW & known,
                              ground.visible_HW & known, self.object_iou)
        by_method = self.matches.setdefault(name, {})
        by_method[method] = by_method[method].merge(match) if method in by_method else match

    def table(self, part: str) -> pd.DataFrame:
        """One row for each non-zero cell of each block's matrix; `true` and `predicted` are class ids."""
        rows = [(part, truth, *method, self.scene_of_block[block], block, int(true), int(predicted),
                 int(confusion.matrix[true, predicted]))
                for truth, methods in self.confusions.items() for method, blocks in methods.items()
                for block, confusion in blocks.items() for true, predicted in np.argwhere(confusion.matrix)]
        columns = ["part", "truth", "method", "member", "scene", "block", "true", "predicted", "count"]
        return pd.DataFrame(rows, columns=columns)
