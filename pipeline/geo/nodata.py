"""Which pixels hold data: the one place that knows how rasters say "nothing here".

Shape legend: H rows, W columns.
"""

import math
from typing import Any

import numpy as np

from pipeline.types import AnyArray, BoolArray

#: No reflectance or digital number comes near this; files write +-3.4e38 for "no data", declared or not.
_ABSURD = 1e38
#: Undeclared zeros that reach the edge are taken for missing ground beyond this share of a scene.
MANY_ZEROS = 0.01


def has_data(pixels: AnyArray, nodata: float | None) -> BoolArray:
    """Where pixels are neither the declared nodata value, nor NaN or infinite, nor absurdly large; same shape."""
    if pixels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            valid: BoolArray = np.abs(pixels) < _ABSURD
    else:
        valid = np.ones(pixels.shape, dtype=np.bool_)
    if fitting_nodata(nodata, pixels.dtype) is not None:
        valid &= pixels != pixels.dtype.type(nodata)
    return valid


def fitting_nodata(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """The nodata value if pixels of the dtype can have it, else None (uint16 never holds -9999)."""
    if nodata is None or math.isnan(nodata) or abs(nodata) >= _ABSURD:
        return None
    if dtype.kind == "f":
        return nodata
    limits = np.iinfo(dtype)
    return nodata if float(nodata).is_integer() and limits.min <= nodata <= limits.max else None


class EdgeArea:
    """How many marked pixels of a raster are connected (by their sides) to its edge; fed row band by row band.

    Keeps one row of pixels and one entry for each connected region of a row band.
    """

    def __init__(self, height: int, width: int) -> None:
        self._height, self._row = height, 0
        self._above = np.zeros(width, dtype=np.int64)  # region of each pixel of the last row, 0 = none
        self._sizes: list[AnyArray] = [np.zeros(1, dtype=np.int64)]
        self._at_edge: list[AnyArray] = [np.zeros(1, dtype=np.bool_)]
        self._joined: list[AnyArray] = []
        self._regions = 1

    def add(self, marked_HW: BoolArray) -> None:
        """Take the next rows, full width."""
        from scipy.ndimage import label

        found, count = label(marked_HW)
        regions = np.where(found > 0, found + (self._regions - 1), 0)
        at_edge = np.zeros(count + 1, dtype=np.bool_)
        at_edge[found[:, [0, -1]]] = True
        if self._row == 0:
            at_edge[found[0]] = True
        self._row += len(marked_HW)
        if self._row >= self._height:
            at_edge[found[-1]] = True
        both = (self._above > 0) & (regions[0] > 0)
        self._joined.append(np.unique(np.stack([self._above[both], regions[0][both]]), axis=1))
        self._sizes.append(np.bincount(found.ravel(), minlength=count + 1)[1:])
        self._at_edge.append(at_edge[1:])
        self._above, self._regions = regions[-1], self._regions + count

    def pixels(self) -> int:
        """The number of pixels so far."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.concatenate(self._joined, axis=1) if self._joined else np.zeros((2, 0), dtype=np.int64)
        graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(self._regions, self._regions))
        _, group = connected_components(graph, directed=False)
        reaching = np.zeros(self._regions, dtype=np.bool_)
        reaching[group[np.concatenate(self._at_edge)]] = True
        return int(np.concatenate(self._sizes)[reaching[group]].sum())
