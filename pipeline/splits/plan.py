"""Plan a split: blocks, support, an assignment, and what happens to classes that none supports."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits.assign import Rates, find_assignment, support_rates
from pipeline.splits.blocks import Blocks, lay_blocks
from pipeline.splits.refusal import Refused, refusal, refuse_places
from pipeline.splits.support import Counts, Support, count_support
from pipeline.types import IGNORE_INDEX, UInt8Array


@dataclass(frozen=True)
class Plan:
    """A feasible split, not yet written.

    Attributes:
        classes: names of the classes after merging; the index is the id.
        class_map: id in the store -> id in `classes`.
        merged: rare class -> class that took it in; empty where nothing was merged.
        unsupported: classes left out of the requirement (`report_only`).
        blocks: the blocks of all scenes.
        place: place of each block (index = id - 1).
        pixels: labelled pixels by block and class.
        support: what the blocks were judged by; ground that several scenes show counts once.
        fold_of_block: fold id of each block (index = id - 1).
        attempts: draws it took, the last one included.
    """

    classes: tuple[str, ...]
    class_map: tuple[int, ...]
    merged: dict[str, str]
    unsupported: tuple[str, ...]
    blocks: Blocks
    place: npt.NDArray[np.intp]
    pixels: Counts
    support: Support
    fold_of_block: UInt8Array
    attempts: int

    @property
    def lut(self) -> UInt8Array:
        """class_map for all 256 values (255 stays "no label")."""
        return look_up_table(self.class_map)


def look_up_table(class_map: Sequence[int]) -> UInt8Array:
    """256 uint8: id in the store -> id after merging; all else is "no label"."""
    lut = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    lut[: len(class_map)] = class_map
    return lut


def merge_classes(names: Sequence[str],
                  merge_into: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The classes that stay, in their order, and the id among them of each class in `names`."""
    kept = tuple(n for n in names if n not in merge_into)
    return kept, tuple(kept.index(merge_into.get(n, n)) for n in names)


def plan_split(store: SceneStore, params: SplitParams, seed: int) -> Plan:
    """Draw a split of the store that supports every class in train, val and test.

    Raises:
        SplitError: too few blocks, no valid or no labelled pixel, a buffer that leaves nothing of a block, or a class
            that cannot be supported and that `rare_classes` does not provide for.
    """
    _check_settings(params)
    blocks = lay_blocks(store, params.block_m)
    place = blocks.places()
    refuse_places(store, blocks, place, params)
    classes, class_map = merge_classes(store.classes, {})
    merged: dict[str, str] = {}
    pixels, support = _count(store, blocks, place, class_map, params.buffer_m)
    required = np.ones(len(classes), dtype=bool)
    while True:
        absent = support.pixels.sum(axis=0) == 0
        found = None if (absent & required).any() else find_assignment(support, place, params, seed, required)
        if found:
            break
        rates = support_rates(support, place, params, seed)
        blamed = _blame(rates, required)
        if params.rare_classes == "merge" and not merged:
            merged = dict(params.merge_into)
            classes, class_map = merge_classes(store.classes, merged)
            pixels, support = _count(store, blocks, place, class_map, params.buffer_m)
            required = np.ones(len(classes), dtype=bool)
        elif params.rare_classes == "report_only":
            required &= ~blamed
        else:
            raise SplitError(refusal(Refused(store, params, seed, classes, look_up_table(class_map), support, place,
                                             rates, blamed)))
    if params.rare_classes == "merge" and not merged:
        warnings.warn("spatial_split.merge_into has no effect: every class is supported without merging",
                      stacklevel=2)
    unsupported = tuple(n for n, r in zip(classes, required, strict=True) if not r)
    return Plan(classes, class_map, merged, unsupported, blocks, place, pixels, support,
                found.fold_of_block, found.attempts)


def _count(store: SceneStore, blocks: Blocks, place: npt.NDArray[np.intp], class_map: tuple[int, ...],
           buffer_m: float) -> tuple[Counts, Support]:
    """Labelled pixels by block and class, and the support in which ground counts once."""
    support = count_support(store, blocks, look_up_table(class_map), max(class_map) + 1, buffer_m)
    if not support.pixels.any():
        raise SplitError("a scene store must hold labelled pixels where its images are valid: got none in "
                         f"{len(store.scenes)} scene{'s' * (len(store.scenes) != 1)}; check acquire's labels, what "
                         "refine_labels dropped (its ledger), and the scenes' nodata")
    return support.pixels, support.once(place, blocks.scene_of_block)


def _check_settings(params: SplitParams) -> None:
    if 2 * params.buffer_m >= params.block_m:
        raise SplitError("spatial_split.buffer_m must be below half of "
                         f"spatial_split.block_size_m={params.block_m:g}, else a block among held-out "
                         f"ground trains nothing: got {params.buffer_m:g}; lower it")
    if params.merge_into and params.rare_classes != "merge":
        warnings.warn("spatial_split.merge_into has no effect while spatial_split.rare_classes is "
                      f"{params.rare_classes}", stacklevel=3)


def _blame(rates: Rates, required: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Required classes that no draw supports; where each has one, the class that the fewest draws support."""
    both = np.where(required, rates.both, np.inf)
    return np.asarray(both == 0 if (both == 0).any() else np.arange(len(both)) == both.argmin())
