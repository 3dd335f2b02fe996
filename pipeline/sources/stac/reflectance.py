"""From digital numbers to reflectance: (DN + offset) / quantification, by the metadata, checked on the darkest pixels.

Since processing baseline 04.00 (January 2022) Sentinel-2 products add 1000 to their digital numbers, so that
BOA_ADD_OFFSET or RADIO_ADD_OFFSET is -1000 (Sentinel-2 Products Specification Document, issue 14.9). Some catalogs have
taken it out again and some say so wrongly: hence the check.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.nodata import has_data
from pipeline.geo.windows import row_bands
from pipeline.params.acquire_remote import StacParams
from pipeline.sources.stac.fetch import CutOut
from pipeline.sources.stac.plan import Read

if TYPE_CHECKING:
    import pystac

#: Sentinel-2's, from baseline 04.00 on.
_OFFSET, _QUANTIFICATION, _BASELINE = -1000.0, 10000.0, (4, 0)

#: Properties of Earth Search by which the offset has been subtracted from the digital numbers already.
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")

#: The darkest 0.5 % of a scene: water, shadow, dense vegetation in visible light.
_DARK_PERCENTILE = 0.5
#: Reflectance that the darkest pixels of the darkest band cannot have: below it (over-corrected shadows reach -0.03),
#: an offset was subtracted that the digital numbers do not hold; above it, one was left in.
_TOO_DARK, _TOO_BRIGHT = -0.05, 0.1
#: Percent of clouds above which a scene may well have no dark pixel.
_CLOUDY = 50.0

_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Calibration:
    """reflectance = (DN + offset) / quantification; `nodata` is the DN without data; `flags` say why, for messages."""

    offset: float
    quantification: float
    nodata: float | None
    flags: str


def calibration(item: "pystac.Item", read: Read, dtype: str, nodata: float | None, params: StacParams) -> Calibration:
    """How a band's digital numbers become reflectance, by params, else by the item's and asset's metadata.

    Raises:
        SceneError: the metadata do not say, or contradict each other.
    """
    band = _band_metadata(item.assets[read.key], read.index)
    scale, added = band.get("scale"), band.get("offset")
    sentinel = _is_sentinel2(item)
    setting = "set acquire.stac.offset and acquire.stac.quantification (both in digital numbers)"
    if params.quantification is not None:
        quantification = params.quantification
    elif scale:
        quantification = round(1 / float(scale), 9)
    elif sentinel:
        quantification = _QUANTIFICATION
    else:
        raise SceneError(f"{read.subject} must say how its digital numbers become reflectance: it has neither a scale "
                         f"of its bands nor Sentinel-2's properties; {setting}")
    declared = None if added is None or not scale else round(float(added) / float(scale), 6)
    offset, flags = _offset(item, read, declared, sentinel, params)
    empty = nodata if nodata is not None else band.get("nodata")
    if not isinstance(empty, int | float):
        empty = 0 if np.dtype(dtype).kind == "u" else None
    return Calibration(offset, quantification, None if empty is None else float(empty), flags)


def _offset(item: "pystac.Item", read: Read, declared: float | None, sentinel: bool,
            params: StacParams) -> tuple[float, str]:
    """The offset in digital numbers, and the flags it follows from."""
    if params.offset is not None:
        return params.offset, f"acquire.stac.offset {params.offset:g}"
    if any(item.properties.get(key) is True for key in _APPLIED):  # the bands of such items still declare an offset
        return 0.0, "boa_offset_applied true"
    baseline = _baseline(item) if sentinel else None
    if baseline is None:
        return declared or 0.0, f"the band's offset {declared or 0.0:g}" if declared else "no offset declared"
    expected = _OFFSET if baseline >= _BASELINE else 0.0
    flags = f"processing baseline {baseline[0]:02d}.{baseline[1]:02d}"
    if declared is not None and declared != expected:
        raise SceneError(f"{read.subject} must have metadata that agree: its {flags} means an offset of {expected:g}, "
                         f"its band metadata say {declared:g}; set acquire.stac.offset to the right one")
    return expected, flags


def _band_metadata(asset: "pystac.Asset", index: int) -> dict[str, Any]:
    """scale, offset and nodata of a band: STAC 1.1 `bands`, or the asset's own fields, or the older raster:bands."""
    extra = asset.extra_fields
    found: dict[str, Any] = {}
    older, newer = extra.get("raster:bands") or [], extra.get("bands") or []
    for source, prefix in ((extra, "raster:"), (_at(newer, index), "raster:"), (_at(older, index), "")):
        for name in ("scale", "offset"):
            if source.get(prefix + name) is not None:
                found[name] = source[prefix + name]
        if source.get("nodata") is not None:
            found["nodata"] = source["nodata"]
    return found


def _at(bands: Sequence[dict[str, Any]], index: int) -> dict[str, Any]:
    return bands[index - 1] if index <= len(bands) else {}


def _is_sentinel2(item: "pystac.Item") -> bool:
    known = item.properties
    names = (known.get("constellation"), known.get("platform"))
    return "s2:processing_baseline" in known or any(str(n or "").lower().startswith("sentinel-2") for n in names)


def _baseline(item: "pystac.Item") -> tuple[int, int] | None:
    text = str(next((item.properties[key] for key in _BASELINES if item.properties.get(key)), ""))
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def check_dark_pixels(item_id: str, cloud_cover: float, bands: Mapping[str, tuple[CutOut, Calibration]],
                      params: StacParams) -> None:
    """Hold the offsets of an item's bands against its darkest pixels; an offset of params is taken as it is.

    Args:
        item_id: for messages.
        cloud_cover: percent; infinite where unknown.
        bands: band name -> what was read of it and how it becomes reflectance.
        params: whose offset wins.

    Raises:
        SceneError: the offset leaves the darkest band's darkest pixels far below zero, or, without an offset and
            without many clouds, no band has a dark pixel at all.
    """
    if params.offset is not None:
        return
    dark = {name: percentile for name, (cut_out, known) in bands.items()
            if (percentile := dark_percentile(cut_out, known.nodata)) is not None}
    if not dark:
        return
    reflectance = {name: (dn + bands[name][1].offset) / bands[name][1].quantification for name, dn in dark.items()}
    darkest = min(reflectance, key=lambda name: reflectance[name])
    least = reflectance[darkest]
    flags = "; ".join(sorted({known.flags for _, known in bands.values()}))
    offsets = sorted({known.offset for _, known in bands.values()})
    known = (f"flags: {flags}; offset {', '.join(f'{o:g}' for o in offsets)}; {_DARK_PERCENTILE} % percentile of DN: "
             + ", ".join(f"{name} {dn:g}" for name, dn in dark.items()))
    if any(offsets) and least < _TOO_DARK:
        raise SceneError(f"item {item_id} must have dark pixels near reflectance 0 after its offset, but those of "
                         f"{darkest} are at {least:.3f} ({known}), as if the offset had been taken out before; if so, "
                         "set acquire.stac.offset to 0, else to the right one")
    clear = not _CLOUDY < cloud_cover < math.inf
    if not any(offsets) and clear and least > _TOO_BRIGHT:
        raise SceneError(f"item {item_id} must have dark pixels somewhere, but the darkest, of {darkest}, are at "
                         f"reflectance {least:.3f} ({known}), as if an offset had been left in; set "
                         f"acquire.stac.offset to it (Sentinel-2: {_OFFSET:g}), or to 0 for ground as bright as that")


def dark_percentile(cut_out: CutOut, nodata: float | None) -> float | None:
    """The 0.5 % percentile of a band's digital numbers, of about a million of its pixels; None where none has data."""
    grid = raster_io.describe(cut_out.path).grid
    step = max(1, int(np.ceil(np.sqrt(grid.height * grid.width / _SAMPLES))))
    taken = []
    for window in row_bands(grid.height, grid.width, 64 * step):
        pixels = raster_io.read(cut_out.path, window)[::step, ::step]
        taken.append(pixels[has_data(pixels, nodata)])
    values = np.concatenate(taken)
    return float(np.percentile(values, _DARK_PERCENTILE)) if values.size else None
