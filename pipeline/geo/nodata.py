"""Which pixels hold data: the one place that knows how rasters say "nothing here"."""

import math
from typing import Any

import numpy as np

from pipeline.types import AnyArray, BoolArray

#: No reflectance or digital number comes near this; files write +-3.4e38 for "no data", declared or not.
_ABSURD = 1e38


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
