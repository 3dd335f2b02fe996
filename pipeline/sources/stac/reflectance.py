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
from pipeline.geo.nodata import fitting_nodata, has_data
from pipeline.params.acquire_remote import StacParams
from pipeline.sources.stac.fetch import CutOut
from pipeline.sources.stac.plan import Read
from pipeline.types import AnyArray, BoolArray, FloatArray, Window

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

#: Of a scene's rows, and of a row's pixels, that are looked at.
_ROWS, _COLUMNS = 128, 8192


@dataclass(frozen=True)
class Calibration:
    """reflectance = (DN + offset) / quantification; `nodata` is the DN without data; `flags` say why, for messages."""

    offset: float
    quantification: float
    nodata: float | None
    flags: str

    @property
    def is_applied(self) -> bool:
        """Whether it changes numbers; it does not for what is reflectance already."""
        return self.offset != 0 or self.quantification != 1

    def has_data(self, numbers: AnyArray) -> BoolArray:
        """Where digital numbers stand for reflectance: not nodata, and not 0 where an offset or scale is applied."""
        data = has_data(numbers, self.nodata)
        return data & (numbers != 0) if self.is_applied else data

    def reflectance(self, numbers: AnyArray) -> FloatArray:
        """Digital numbers as float32 reflectance, same shape."""
        found: FloatArray = ((numbers.astype(np.float64) + self.offset) / self.quantification).astype(np.float32)
        return found


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
    if added and not scale and params.offset is None and not _was_subtracted(item):
        raise SceneError(f"{read.subject} must declare a scale beside its offset {float(added):g} (band {read.name}), "
                         f"because without one it may be in digital numbers or in reflectance: got none; {setting}")
    declared = None if added is None or not scale else round(float(added) / float(scale), 6)
    offset, flags = _offset(item, read, declared, sentinel, params)
    stated = nodata if nodata is not None else band.get("nodata")
    empty = fitting_nodata(float(stated), np.dtype(dtype)) if isinstance(stated, int | float) else None
    if empty is None and np.dtype(dtype).kind == "u":
        empty = 0.0
    return Calibration(offset, quantification, empty, flags)


def _offset(item: "pystac.Item", read: Read, declared: float | None, sentinel: bool,
            params: StacParams) -> tuple[float, str]:
    """The offset in digital numbers, and the flags it follows from."""
    if params.offset is not None:
        return params.offset, f"acquire.stac.offset {params.offset:g}"
    if _was_subtracted(item):
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


def _was_subtracted(item: "pystac.Item") -> bool:
    """Whether its digital numbers are without the offset that its bands still declare."""
    return any(item.properties.get(key) is True for key in _APPLIED)


def _band_metadata(asset: "pystac.Asset", index: int) -> dict[str, Any]:
    """scale, offset and nodata of a band: STAC 1.1 `bands`, or the asset's own fields, or the older raster:bands.

    Only the last spells scale and offset without a prefix, but some catalogs do so in the others too.
    """
    extra = asset.extra_fields
    found: dict[str, Any] = {}
    older, newer = extra.get("raster:bands") or [], extra.get("bands") or []
    for source in (extra, _at(newer, index), _at(older, index)):
        for key in ("scale", "offset", "nodata", "raster:scale", "raster:offset"):
            if source.get(key) is not None:
                found[key.removeprefix("raster:")] = source[key]
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
            if (percentile := dark_percentile(cut_out, known)) is not None}
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


def dark_percentile(cut_out: CutOut, known: Calibration) -> float | None:
    """The 0.5 % percentile of a band's digital numbers, of at most a million pixels; None where none has data.

    They are those of rows that divide the scene evenly, of which there are 128 however large it is.
    """
    grid = raster_io.describe(cut_out.path).grid
    rows, step = min(_ROWS, grid.height), math.ceil(grid.width / _COLUMNS)
    taken = []
    with raster_io.open_windows(cut_out.path) as reader:
        for i in range(rows):
            row = (2 * i + 1) * grid.height // (2 * rows)
            numbers = reader.read(Window(row, 0, 1, grid.width), [1])[0, 0, ::step]
            taken.append(numbers[known.has_data(numbers)])
    values = np.concatenate(taken)
    return float(np.percentile(values, _DARK_PERCENTILE)) if values.size else None
