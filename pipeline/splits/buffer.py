"""The ground that may train: train blocks without the strip near held-out ground. For training to ask.

Distances run from pixel centre to pixel centre in metres on the ground.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from pipeline.geo.grid import Grid
from pipeline.geo.windows import row_bands
from pipeline.splits.split import Split
from pipeline.types import BoolArray, Window

#: Pixels whose distances are held at a time.
_BAND_PIXELS = 2_000_000


def train_ground(split: Split, scene_id: str, grid: Grid) -> BoolArray:
    """Pixels of train blocks farther than `split.buffer_m` from every val and test pixel of this scene, bool HW.

    Pixels outside carry no train label; whether one inside has a label and valid data is the store's to say.
    """
    fold = split.fold_map(scene_id)
    ground: BoolArray = np.asarray(split.mask(fold, "train"))
    if split.buffer_m > 0:
        for window, distance in held_out_distances(split.mask(fold, "val") | split.mask(fold, "test"), grid,
                                                   split.buffer_m):
            ground[window.slices] &= distance > split.buffer_m
    return ground


def held_out_distances(held_out: BoolArray, grid: Grid,
                       reach_m: float) -> Iterator[tuple[Window, npt.NDArray[np.float64]]]:
    """Row bands of the distance in metres to the nearest pixel of `held_out` (HW); inf beyond `reach_m`."""
    pixel_width, pixel_height = grid.ground_pixel_m
    margin = math.ceil(reach_m / pixel_height) + 1
    rows = max(margin, _BAND_PIXELS // grid.width, 1)
    for window in row_bands(grid.height, grid.width, rows):
        top = max(0, window.row - margin)
        seen = held_out[top: window.row + window.height + margin]
        if seen.any():
            whole = distance_transform_edt(~seen, sampling=(pixel_height, pixel_width))
            distance = whole[window.row - top: window.row - top + window.height]
            yield window, np.where(distance <= reach_m, distance, np.inf)
        else:
            yield window, np.full((window.height, window.width), np.inf)
