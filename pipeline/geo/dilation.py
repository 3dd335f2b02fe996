"""Pixels near marked ones, at a cost that does not grow with the distance.

Shape legend: H rows, W columns.
"""

import math

import numpy as np

from pipeline.types import AnyArray, BoolArray

#: Rows whose reaches are summed up at once.
_ROWS = 64


def reach_px(distance_m: float, pixel_m: float) -> int:
    """How many pixels of a size a distance spans."""
    return math.floor(distance_m / pixel_m)


def near(marked_HW: BoolArray, rows: slice, pixel_m: tuple[float, float], distance_m: float) -> BoolArray:
    """Where pixels lie within a distance of a marked one, centre to centre: of the given rows, full width.

    In two passes, after Meijster et al. (2000), A general algorithm for computing distance transforms in linear time:
    down each column the distance to the nearest marked pixel of that column, which says how far along its row a pixel
    reaches; then the union of these reaches. Exact, and linear in the number of pixels.

    Args:
        marked_HW: the rows in question, and as many above and below as `distance_m` spans where there are that many.
        rows: the rows in question.
        pixel_m: width and height of a pixel in metres.
        distance_m: how far a marked pixel reaches.
    """
    width_m, height_m = pixel_m
    most = reach_px(distance_m, height_m)
    columns = _down_columns(marked_HW, rows, most)
    # Of each distance down a column, the pixels it reaches to either side; of distances beyond the last, none.
    sides = np.array([_side(i * height_m, width_m, distance_m) for i in range(most + 1)] + [-1], dtype=np.int64)
    found = np.zeros(columns.shape, dtype=np.bool_)
    for top in range(0, len(columns), _ROWS):
        part = slice(top, top + _ROWS)
        found[part] = _reached(sides[columns[part]])
    return found


def _side(down_m: float, width_m: float, distance_m: float) -> int:
    side = reach_px(math.sqrt(max(0.0, distance_m**2 - down_m**2)), width_m)
    return side + 1 if math.hypot((side + 1) * width_m, down_m) <= distance_m else side


def _down_columns(marked: BoolArray, rows: slice, most: int) -> AnyArray:
    """Rows to the nearest marked pixel of the column, `most` + 1 where there is none that near."""
    beyond = most + 1
    found = np.full((rows.stop - rows.start, marked.shape[1]), beyond, dtype=np.uint16 if beyond < 2**16 else np.int32)
    down = range(max(0, rows.start - most), rows.stop)
    up = range(min(len(marked), rows.stop + most) - 1, rows.start - 1, -1)
    for way in (down, up):
        since = np.full(marked.shape[1], beyond, dtype=np.int64)
        for row in way:
            since += 1
            since[marked[row]] = 0
            if rows.start <= row < rows.stop:
                np.minimum(found[row - rows.start], np.minimum(since, beyond), out=found[row - rows.start],
                           casting="unsafe")
    return found


def _reached(sides: AnyArray) -> BoolArray:
    """Where a pixel lies within the side reach of any pixel of its row; reaches below 0 are none."""
    height, width = sides.shape
    row, col = np.nonzero(sides >= 0)
    reach, line = sides[row, col], row * (width + 1)
    size = height * (width + 1)
    starts = np.bincount(line + np.maximum(col - reach, 0), minlength=size)
    ends = np.bincount(line + np.minimum(col + reach + 1, width), minlength=size)
    reached: BoolArray = (starts - ends).reshape(height, width + 1).cumsum(axis=1)[:, :width] > 0
    return reached
