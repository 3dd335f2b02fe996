"""Spectral indices by name: formulas from the Awesome Spectral Indices list (Montero et al. 2023, Sci Data 10, 197).

Bands go by their common names. Shape legend: H rows, W columns, B bands.
"""

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from pipeline.errors import ParamsError, SceneError
from pipeline.types import FloatArray

#: Symbol in a formula -> names a band may have, besides the STAC common name that spyndex gives.
_NAMES = {"A": "coastal", "S1": "swir1", "S2": "swir2", "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3",
          "N2": "nir2", "G1": "green1", "WV": "water_vapour", "T": "thermal", "T1": "thermal1", "T2": "thermal2"}

#: Symbol in a formula -> centre wavelength in nm of Sentinel-2A's band, as spyndex has it; docs/channels.md says what
#: that means for other sensors.
WAVELENGTHS_NM = {"lambdaG": 559.8, "lambdaR": 664.6, "lambdaN": 832.8, "lambdaN2": 864.7, "lambdaS1": 1613.7,
                  "lambdaS2": 2202.4}

_RADAR = ("HH", "HV", "VH", "VV")


def index_bands(index: str, bands: Sequence[str]) -> dict[str, str]:
    """The bands a formula needs: symbol in the formula -> name in `bands`.

    Raises:
        ParamsError: spyndex has no such index, or the index needs more than bands and constants.
        SceneError: a needed band is not among `bands`.
    """
    import spyndex

    found: dict[str, str] = {}
    for symbol in _entry(index).bands:
        if symbol in spyndex.bands:
            accepted = [n for n in (_NAMES.get(symbol), spyndex.bands[symbol].common_name) if n]
            present = [n for n in accepted if n in bands]
            if not present:
                raise SceneError(f"index {index} needs a band named {' or '.join(accepted)}: got {list(bands)}; "
                                 "choose another index or name the bands")
            found[symbol] = present[0]
        elif _constant(symbol) is None:
            raise ParamsError(f"index {index} must need only bands and constants with a default: it needs {symbol!r}, "
                              f"{_reason(symbol)}; choose another index")
    return found


def _constant(symbol: str) -> float | None:
    """The value of a symbol that is no band, None where it has none of its own."""
    import spyndex

    if symbol in WAVELENGTHS_NM:
        return WAVELENGTHS_NM[symbol]
    default: float | None = spyndex.constants[symbol].default if symbol in spyndex.constants else None
    return default


def _reason(symbol: str) -> str:
    """Why a symbol has no value here."""
    if symbol in _RADAR:
        return "which is radar backscatter, not reflectance"
    if symbol.startswith("k"):
        return "which is a kernel between two bands whose width has to be chosen by the scene"
    return "which is no property of a scene (PAR is the light that falls on it)"


def compute(index: str, image_HWB: FloatArray, bands: Sequence[str]) -> FloatArray:
    """An index of reflectance, float32 HW; NaN where its formula is undefined or a band is NaN.

    Args:
        index: its spyndex name, such as NDVI.
        image_HWB: reflectance, float32.
        bands: names of the image's bands in order: blue, green, red, nir, swir1, ...

    Raises:
        ParamsError: spyndex has no such index.
        SceneError: a needed band is not among `bands`.
    """
    names = index_bands(index, bands)
    values: dict[str, Any] = {s: _constant(s) for s in _entry(index).bands if s not in names}
    values |= {symbol: image_HWB[..., list(bands).index(name)] for symbol, name in names.items()}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = np.asarray(eval(_formula(index), {"__builtins__": {}}, values), dtype=np.float32)
    return np.where(np.isfinite(result), result, np.float32(np.nan))


@cache
def _formula(index: str) -> CodeType:
    """The formula, compiled: spyndex.computeIndex evaluates the same text, but reads its whole list for each call."""
    return compile(_entry(index).formula, f"spyndex {index}", "eval")


def _entry(index: str) -> Any:
    import spyndex

    known: Mapping[str, Any] = spyndex.indices
    if index not in known:
        close = difflib.get_close_matches(index, list(known), n=1, cutoff=0.4)
        remedy = f"did you mean {close[0]}?" if close else "see the list of the spyndex library"
        raise ParamsError(f"a spectral index must be one that spyndex knows: got {index!r}; {remedy}")
    return known[index]
