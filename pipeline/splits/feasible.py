"""The largest block size for which a split exists, found by trying."""

import math

import numpy as np

from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits.assign import find_assignment
from pipeline.splits.blocks import lay_blocks
from pipeline.splits.support import count_support
from pipeline.types import UInt8Array

#: Draws tried for each size: a size that is named was feasible within them.
_ATTEMPTS = 500

#: Sizes are tried by this factor, and between the last two to this share.
_STEP, _PRECISION = 0.7, 0.05

#: Smallest block tried, in pixels.
LEAST_PX = 4


def least_size_m(store: SceneStore, params: SplitParams) -> float:
    """The smallest block that is tried: a few pixels, and more than two buffers."""
    return _metres(_least_px(store, params), store)


def largest_feasible_m(store: SceneStore, params: SplitParams, seed: int, lut: UInt8Array,
                       classes: int) -> float | None:
    """The largest block in metres (whole pixels) that supports all classes in every part, or None.

    Goes down from the largest block of which there are enough, by steps of 0.7, then bisects; where blocks fall on
    objects is partly luck, so a larger size may be feasible in between.
    """
    area_px = sum(scene.grid.height * scene.grid.width for scene in store)
    least = _least_px(store, params)
    side = max(least, math.isqrt(int(2 * area_px / (params.folds + 1))))
    above = side + 1
    while not _feasible(store, params, seed, lut, classes, side):
        if side == least:
            return None
        above, side = side, max(least, math.floor(side * _STEP))
    while above - side > max(1, _PRECISION * side):
        middle = (above + side) // 2
        if _feasible(store, params, seed, lut, classes, middle):
            side = middle
        else:
            above = middle
    return _metres(side, store)


def _feasible(store: SceneStore, params: SplitParams, seed: int, lut: UInt8Array, classes: int, side_px: int) -> bool:
    size_m = _metres(side_px, store)
    tried = params.model_copy(update={"block_size_m": size_m, "attempts": min(params.attempts, _ATTEMPTS)})
    blocks = lay_blocks(store, size_m)
    place = blocks.places()
    places = int(place.max(initial=-1)) + 1
    if places - max(1, round(params.test_fraction * places)) < params.folds:
        return False
    support = count_support(store, blocks, lut, classes, params.buffer_m).once(place, blocks.scene_of_block)
    return find_assignment(support, place, tried, seed, np.ones(classes, dtype=bool)) is not None


def _least_px(store: SceneStore, params: SplitParams) -> int:
    return max(LEAST_PX, math.floor(2 * params.buffer_m / _pixel_m(store)) + 1)


def _pixel_m(store: SceneStore) -> float:
    return max(max(scene.grid.ground_pixel_m) for scene in store)


def _metres(side_px: int, store: SceneStore) -> float:
    """Whole pixels as metres, with as few digits as mean the same number of pixels in every scene."""
    metres = side_px * _pixel_m(store)
    sizes = [m for scene in store for m in scene.grid.ground_pixel_m]
    for digits in range(1, 8):
        short = float(f"{metres:.{digits}g}")
        if all(round(short / m) == round(metres / m) for m in sizes):
            return short
    return metres
