"""Pixels to polygons: the rings of equal, 4-connected pixels, followed by compiled loops.

A ring keeps its pixels on its right hand. Where two pixels of one area touch only at a corner, it passes between the
pixels that do not belong to the area; so no ring meets itself, and a hole may touch its outer ring in a point, which is
valid (OGC 06-103r4, 6.1.11). Areas of one window touch each other in points only where they have the same value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from numba import njit

from pipeline.types import AnyArray, UInt8Array, Window

#: Steps east, south, west, north, and the pixels ahead on the left and the right hand, as (row, column) from a corner.
_STEP = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
_LEFT = np.array([[-1, 0], [0, 0], [0, -1], [-1, -1]])
_RIGHT = np.array([[0, 0], [0, -1], [-1, -1], [-1, 0]])

#: Windows are traced in batches of about so many pixels, which bounds the memory for their corners.
_BATCH_PX = 1 << 21

#: Every value is its own.
ALL_VALUES = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class Traced:
    """Polygons of equal pixels in windows of a raster, window by window, within one by their first pixel.

    Attributes:
        polygons: in the coordinates of the transform.
        values: their value.
        windows: index of their window.
    """

    polygons: AnyArray
    values: UInt8Array
    windows: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> "Traced":
        """No polygons."""
        return cls(np.empty(0, dtype=object), np.empty(0, np.uint8), np.empty(0, np.int64))


def trace_windows(values_HW: UInt8Array, transform: Affine, windows: Sequence[Window] | AnyArray,
                  tables: UInt8Array | None = None, table_of_window: AnyArray | None = None) -> Traced:
    """Polygons of equal, 4-connected pixels above 0 in each window.

    Args:
        values_HW: the raster; may be memory-mapped, only the windows are read.
        transform: from columns and rows to coordinates.
        windows: inside the raster; row, column, height and width, N4, if an array.
        tables: what raster values count as, shape T256; as they are, if None.
        table_of_window: which table holds for each window; the first, if None.
    """
    boxes = windows if isinstance(windows, np.ndarray) else np.array(
        [(w.row, w.col, w.height, w.width) for w in windows])
    boxes = boxes.astype(np.int64).reshape(-1, 4)
    looks = ALL_VALUES[np.newaxis] if tables is None else tables
    chosen = np.zeros(len(boxes), np.int64) if table_of_window is None else table_of_window.astype(np.int64)
    pixels = np.asarray(values_HW)
    parts = []
    for batch in _batches(boxes):
        corners, ends, firsts, values, of_window = _trace(pixels, boxes[batch], looks, chosen[batch])
        if len(values):
            col, row = corners[:, 0].astype(np.float64), corners[:, 1].astype(np.float64)
            t = transform
            xy = np.stack([t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f], axis=1)
            polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (ends, firsts))
            parts.append((polygons, values, of_window + batch.start))
    return Traced(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else Traced.none()


def _batches(boxes: AnyArray) -> list[slice]:
    batch_of = np.cumsum(boxes[:, 2] * boxes[:, 3]) // _BATCH_PX
    starts = np.flatnonzero(np.diff(batch_of, prepend=-1)).tolist()
    return [slice(a, b) for a, b in zip(starts, [*starts, len(boxes)][1:], strict=True)]


def _trace(pixels: AnyArray, boxes: AnyArray, tables: UInt8Array,
           chosen: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray, AnyArray]:
    """Corners (column, row) of rings, ends of rings, first rings of polygons, values and windows of polygons."""
    # At most four rings pass a corner, and no ring has fewer than four; each repeats its first.
    most = int(((boxes[:, 2] + 1) * (boxes[:, 3] + 1)).sum())
    side = int(boxes[:, 2:].max()) + 2
    corners, ends = np.empty((5 * most, 2), np.int32), np.empty(most + 1, np.int64)
    firsts, values = np.empty(most + 2, np.int64), np.empty(most + 2, np.uint8)
    ends[0] = firsts[0] = 0
    of_window = np.empty(most + 2, np.int64)
    label, seen = np.zeros((side, side), np.int32), np.zeros((side, side), np.bool_)
    largest = int((boxes[:, 2] * boxes[:, 3]).max())
    scratch = np.empty((5, largest + 2), np.int64)
    loose = np.empty((5 * side * side, 2), np.int32)
    count, rings, found = _trace_boxes(pixels, boxes, tables, chosen, corners, ends, firsts, values, of_window, label,
                                       seen, scratch, loose)
    return corners[:count], ends[: rings + 1], firsts[: found + 1], values[:found], of_window[:found]


@njit(cache=True, nogil=True)
def _label(pixels, row0, col0, height, width, table, label, parent):  # type: ignore[no-untyped-def]
    """Number the areas of a window from 1 by their first pixel, into `label` within a rim of 0; returns how many."""
    label[: height + 2, : width + 2] = 0
    count = 0
    for r in range(height):
        for c in range(width):
            value = table[pixels[row0 + r, col0 + c]]
            found = 0
            if value:
                if c and table[pixels[row0 + r, col0 + c - 1]] == value:
                    found = label[r + 1, c]
                if r and table[pixels[row0 + r - 1, col0 + c]] == value:
                    above = label[r, c + 1]
                    if found == 0:
                        found = above
                    elif found != above:
                        a, b = found, above
                        while parent[a] != a:
                            parent[a] = parent[parent[a]]
                            a = parent[a]
                        while parent[b] != b:
                            parent[b] = parent[parent[b]]
                            b = parent[b]
                        parent[max(a, b)] = min(a, b)
                if found == 0:
                    count += 1
                    parent[count] = count
                    found = count
            label[r + 1, c + 1] = found
    areas = 0
    for i in range(1, count + 1):  # a root stands for numbers above its own, so its new number (negative) is known
        if parent[i] == i:
            areas += 1
            parent[i] = -areas
        else:
            parent[i] = parent[parent[i]]
    for r in range(1, height + 1):
        for c in range(1, width + 1):
            if label[r, c]:
                label[r, c] = -parent[label[r, c]]
    return areas


@njit(cache=True, nogil=True)
def _follow(label, row, col, seen, out, filled):  # type: ignore[no-untyped-def]
    """Write the corners of the ring that runs east along the upper edge of a pixel, closed; returns where it ends."""
    own = label[row + 1, col + 1]
    r, c, d = row, col, 0
    first = filled
    while True:
        out[filled, 0] = c
        out[filled, 1] = r
        filled += 1
        while True:
            if d == 0:
                seen[r, c] = True
            r += _STEP[d, 0]
            c += _STEP[d, 1]
            if label[r + _LEFT[d, 0] + 1, c + _LEFT[d, 1] + 1] == own:
                d = (d + 3) % 4
                break
            if label[r + _RIGHT[d, 0] + 1, c + _RIGHT[d, 1] + 1] != own:
                d = (d + 1) % 4
                break
        if r == row and c == col and d == 0:
            break
    out[filled, 0] = out[first, 0]
    out[filled, 1] = out[first, 1]
    return filled + 1


@njit(cache=True, nogil=True)
def _trace_boxes(pixels, boxes, tables, chosen, corners, ends, firsts, values, of_window, label,  # type: ignore[no-untyped-def]
                 seen, scratch, loose):
    parent, area_of, start_of, stop_of, place = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    filled, rings, found = 0, 0, 0
    for w in range(boxes.shape[0]):
        row0, col0, height, width = boxes[w, 0], boxes[w, 1], boxes[w, 2], boxes[w, 3]
        table = tables[chosen[w]]
        areas = _label(pixels, row0, col0, height, width, table, label, parent)
        if areas == 0:
            continue
        seen[:height, :width] = False
        place[: areas + 2] = 0
        n, end = 0, 0
        for r in range(height):
            for c in range(width):
                own = label[r + 1, c + 1]
                if own and label[r, c + 1] != own and not seen[r, c]:
                    if place[own + 1] == 0:
                        values[found + own - 1] = table[pixels[row0 + r, col0 + c]]
                        of_window[found + own - 1] = w
                    area_of[n] = own
                    start_of[n] = end
                    end = _follow(label, r, c, seen, loose, end)
                    stop_of[n] = end
                    place[own + 1] += 1
                    n += 1
        # Rings came by their first pixels; now those of one area follow each other, its outer ring (found first) first.
        for k in range(1, areas + 1):
            firsts[found + k - 1] = rings + place[k]
            place[k + 1] += place[k]
        for i in range(n):
            k = area_of[i]
            parent[place[k]] = i
            place[k] += 1
        for j in range(n):
            i = parent[j]
            for m in range(start_of[i], stop_of[i]):
                corners[filled, 0] = loose[m, 0] + col0
                corners[filled, 1] = loose[m, 1] + row0
                filled += 1
            rings += 1
            ends[rings] = filled
        found += areas
        firsts[found] = rings
    return filled, rings, found
