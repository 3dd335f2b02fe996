"""What one file says of itself, with nothing else at hand: its kind, the digest of its provenance.json, its classes."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, KumulusError
from pipeline.tracking import statement

#: Keys of tags and metadata: in COG, GeoPackage and GeoParquet, and in ONNX.
PROVENANCE_TAG, CLASSES_TAG, MODEL_TAG = "KUMULUS_PROVENANCE", "KUMULUS_CLASSES", "KUMULUS_MODEL"
_ONNX = "kumulus."

_SHA256 = re.compile(r"`([0-9a-f]{64})` of `provenance\.json`")
_PROVENANCE_FORMAT = "kumulus-provenance-"


@dataclass(frozen=True)
class Claims:
    """What a file says; nothing of it is checked."""

    #: onnx, geotiff, geopackage, geoparquet, statement, provenance, card; "" for any other file.
    kind: str
    #: Digest of provenance.json; "" where the file names none.
    provenance: str = ""
    #: What else it tells, for people.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Why it cannot be read as what its name says; "" where it can.
    damage: str = ""


def read_claims(path: Path) -> Claims:
    """What `path` says of itself; a file that cannot be read as what its name says has a `damage`."""
    kind, reader = _READERS.get(path.suffix.lower(), ("", None))
    if reader is None:
        return Claims(kind)
    try:
        return reader(path)
    except (KumulusError, UnicodeDecodeError) as error:
        return Claims(kind, damage=str(error))


def _onnx(path: Path) -> Claims:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise IntegrityError(f"{path} must be an ONNX model: {' '.join(str(error).split())}; copy it again") from error
    about = {entry.key: entry.value for entry in model.metadata_props}
    facts = {name: _words(about[_ONNX + key]) for name, key in
             (("channels", "channels"), ("classes", "classes"), ("pixel size in m", "pixel_size_m"),
              ("format", "format")) if _ONNX + key in about}
    return Claims("onnx", about.get(_ONNX + "provenance", ""), facts)


def _geotiff(path: Path) -> Claims:
    from pipeline.geo.raster_io import describe

    info = describe(path)
    facts = {"size": f"{info.grid.width} x {info.grid.height} px"}
    if info.grid.crs is not None:
        facts["CRS"] = info.grid.crs.name
    return Claims("geotiff", info.tags.get(PROVENANCE_TAG, ""), _tagged(info.tags) | facts)


def _geopackage(path: Path) -> Claims:
    from pipeline.geo.file_tags import geopackage_tags

    found = geopackage_tags(path)
    facts = {"layers": ", ".join(found.layers), "features": str(found.features)}
    return Claims("geopackage", found.tags.get(PROVENANCE_TAG, ""), _tagged(found.tags) | facts)


def _geoparquet(path: Path) -> Claims:
    from pipeline.geo.file_tags import geoparquet_tags

    found = geoparquet_tags(path)
    return Claims("geoparquet", found.tags.get(PROVENANCE_TAG, ""),
                  _tagged(found.tags) | {"features": str(found.features)})


def _card(path: Path) -> Claims:
    match = _SHA256.search(path.read_text(encoding="utf-8"))
    return Claims("card", match.group(1) if match else "")


def _json(path: Path) -> Claims:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        kind = "statement" if path.name.endswith("lineage.json") else "provenance"
        return Claims(kind, damage=f"{path} must be JSON: {error}; take it from where it came anew")
    if not isinstance(raw, dict):
        return Claims("")
    if str(raw.get("format", "")).startswith(_PROVENANCE_FORMAT):
        from pipeline.digests import file_sha256

        return Claims("provenance", file_sha256(path))
    if raw.get("_type") == statement.STATEMENT_TYPE or path.name.endswith("lineage.json"):
        read = statement.parse(raw)
        return Claims("statement", read.provenance)
    return Claims("")


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    """Classes, and the model of a prediction, as files of maps and polygons name them."""
    facts = {"classes": _words(tags[CLASSES_TAG])} if CLASSES_TAG in tags else {}
    return facts | ({"model sha256": tags[MODEL_TAG]} if MODEL_TAG in tags else {})


def _words(text: str) -> str:
    """A JSON list as words; any other text as it is."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return text
    return ", ".join(map(str, value)) if isinstance(value, list) else text


_READERS: Mapping[str, tuple[str, Callable[[Path], Claims]]] = {
    ".onnx": ("onnx", _onnx), ".tif": ("geotiff", _geotiff), ".tiff": ("geotiff", _geotiff),
    ".gpkg": ("geopackage", _geopackage), ".parquet": ("geoparquet", _geoparquet),
    ".geoparquet": ("geoparquet", _geoparquet), ".json": ("statement", _json), ".md": ("card", _card),
}
