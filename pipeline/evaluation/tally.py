"""Running counts of one part over all scenes: what every figure in metrics.json is computed from."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from pipeline.errors import IntegrityError
from pipeline.evaluation.truths import Ground, GroundCut
from pipeline.metrics.confusion import Confusion, CountArray, merge_blocks, per_block
from pipeline.metrics.objects import ObjectMatch, ObjectMatcher
from pipeline.types import IGNORE_INDEX, UInt8Array, Window

#: (method, member). `network` is all members (of several: member -1) averaged, out of fold where they held out
#: different folds; `network_tta` the same with test-time augmentation; each of several is a `network_member` too.
Method = tuple[str, int]

NETWORK, TTA, MEMBER = "network", "network_tta", "network_member"

C = TypeVar("C", Confusion, CountArray)


@dataclass
class Tally:
    """Counts by truth and method.

    `headline` is the truth that objects are matched with; `objects`: class name -> id of the classes whose are.
    `place_of_block`: block -> place, for the blocks that share theirs with a block of another scene.
    """

    classes: Sequence[str]
    headline: str
    objects: Mapping[str, int]
    object_iou: float
    place_of_block: Mapping[int, int] = field(default_factory=dict)
    confusions: dict[str, dict[Method, dict[int, Confusion]]] = field(default_factory=dict)
    #: method -> block -> pixels by [zone id, predicted class], shape (256, K).
    zones: dict[Method, dict[int, CountArray]] = field(default_factory=dict)
    matches: dict[str, dict[Method, ObjectMatch]] = field(default_factory=dict)
    scene_of_block: dict[int, str] = field(default_factory=dict)

    def add(self, ground: Ground, method: Method, bands: Iterable[tuple[Window, UInt8Array]]) -> None:
        """Count one method's map of one scene, given as full-width windows with their class ids, top to bottom.

        Raises:
            IntegrityError: a scored pixel has no prediction.
        """
        self.add_each(ground, ((window, {method: predicted_HW}) for window, predicted_HW in bands))

    def add_each(self, ground: Ground, bands: Iterable[tuple[Window, Mapping[Method, UInt8Array]]],
                 fold_of: Mapping[Method, int] | None = None) -> None:
        """Count several methods' maps of one scene, which come together.

        Args:
            ground: the scored side of the scene.
            bands: full-width windows with the class ids of every method, top to bottom.
            fold_of: the methods that are scored on the ground of one fold only.

        Raises:
            IntegrityError: a pixel on which a method is scored has no prediction.
        """
        names = tuple(self.objects) if self.headline in ground.known else ()
        missing: dict[Method, int] = {}
        matchers: dict[Method, dict[str, ObjectMatcher]] = {}
        for window, maps in bands:
            cut = ground.cut(*window.slices)
            for method, predicted_HW in maps.items():
                fold = (fold_of or {}).get(method)
                scored_HW = cut.scored_HW if fold is None else cut.scored_HW & (cut.fold_HW == fold)
                if method not in matchers:
                    matchers[method] = {name: ObjectMatcher(self.object_iou) for name in names}
                shown = replace(cut, scored_HW=scored_HW)
                missing[method] = missing.get(method, 0) + self._add_band(ground, method, window, shown, predicted_HW)
                for name, matcher in matchers[method].items():
                    truth_HW, class_id = cut.truths[self.headline], self.objects[name]
                    known = truth_HW != IGNORE_INDEX
                    matcher.add(truth_HW == class_id, predicted_HW == class_id, scored_HW & known,
                                cut.visible_HW & known, cut.block_HW)
        for method, pixels in missing.items():
            if pixels:
                raise IntegrityError(f"{method[0]} must predict every valid pixel of the scored part of scene "
                                     f"{ground.scene.id}: {pixels} pixels have none; check its validity mask")
        for method, by_name in matchers.items():
            for name, matcher in by_name.items():
                by_method, match = self.matches.setdefault(name, {}), matcher.result()
                by_method[method] = by_method[method].merge(match) if method in by_method else match

    def _add_band(self, ground: Ground, method: Method, window: Window, cut: GroundCut,
                  predicted_HW: UInt8Array) -> int:
        """Count the scored pixels of a band; how many of them have no prediction."""
        scored_HW, zones = cut.scored_HW, ground.scene.zones
        block_N, predicted_N = cut.block_HW[scored_HW], predicted_HW[scored_HW]
        self.scene_of_block.update({int(b): ground.scene.id for b in np.unique(block_N)})
        for name, truth_HW in cut.truths.items():
            counted = per_block(truth_HW[scored_HW], predicted_N, block_N, len(self.classes))
            blocks = self.confusions.setdefault(name, {}).setdefault(method, {})
            self.confusions[name][method] = merge_blocks(blocks, counted)
        if zones is not None:
            self._add_zones(method, zones[window.slices][scored_HW], predicted_N, block_N)
        return int(np.count_nonzero(predicted_N == IGNORE_INDEX))

    def _add_zones(self, method: Method, zone_N: UInt8Array, predicted_N: UInt8Array, block_N: CountArray) -> None:
        predicted = predicted_N != IGNORE_INDEX  # a pixel without a prediction is an error soon
        ids, place_N = np.unique(block_N[predicted], return_inverse=True)
        shape = (ids.size, 256, len(self.classes))
        cells = np.ravel_multi_index((place_N, zone_N[predicted], predicted_N[predicted]), shape)
        counts = np.bincount(cells, minlength=math.prod(shape)).reshape(shape)
        by_block = self.zones.setdefault(method, {})
        for block, count in zip(ids.tolist(), counts, strict=True):
            by_block[block] = by_block[block] + count if block in by_block else count

    def places(self, by_block: Mapping[int, C]) -> dict[int, C]:
        """Counts by place: blocks of several scenes that show one ground are added up, since resamples draw ground."""
        result: dict[int, C] = {}
        for block, counts in by_block.items():
            place = self.place_of_block.get(block, block)
            result[place] = result[place] + counts if place in result else counts
        return dict(sorted(result.items()))

    def place_of(self, block_N: CountArray) -> CountArray:
        """Place of each block."""
        return np.array([self.place_of_block.get(block, block) for block in block_N.tolist()], dtype=np.int64)

    def table(self, part: str) -> pd.DataFrame:
        """One row for each non-zero cell of each block's matrix; `true` and `predicted` are class ids."""
        rows = [(part, truth, *method, self.scene_of_block[block], block, int(true), int(predicted),
                 int(confusion.matrix[true, predicted]))
                for truth, methods in self.confusions.items() for method, blocks in methods.items()
                for block, confusion in blocks.items() for true, predicted in np.argwhere(confusion.matrix)]
        columns = ["part", "truth", "method", "member", "scene", "block", "true", "predicted", "count"]
        return pd.DataFrame(rows, columns=columns)
