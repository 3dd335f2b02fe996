"""What one file says of itself, with nothing else at hand: its kind, the digest of its provenance.json, its classes."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, KumulusError
from pipeline.tracking import statement
from pipeline.tracking.names import CLASSES_TAG, MODEL_TAG, PROVENANCE_TAG
from pipeline.tracking.names import STATEMENT_FILE as _STATEMENT
from pipeline.tracking.wellformed import read_json

#: Of keys in ONNX.
_ONNX = "kumulus."

_SHA256 = re.compile(r"`([0-9a-f]{64})` of `provenance\.json`")
_PROVENANCE_FORMAT = "kumulus-provenance-"
#: Kind of a statement of an earlier version, which nothing can be made of.
EARLIER = "earlier"
#: Of a statement: a file of its name with one of them is one, however damaged.
_PARTS = {"_type", "predicateType", "predicate", "subject"}


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
    except (KumulusError, OSError, UnicodeDecodeError) as error:
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
    named = path.name.endswith(_STATEMENT)
    try:
        raw = read_json(path.read_bytes())
    except IntegrityError as error:
        return Claims("statement" if named else "provenance", damage=f"{path}: {error}")
    if not isinstance(raw, dict):
        return Claims("")
    if str(raw.get("format", "")).startswith(_PROVENANCE_FORMAT):
        from pipeline.digests import file_sha256

        return Claims("provenance", file_sha256(path))
    if raw.get("format") == statement.OLD_FORMAT:
        return Claims(EARLIER, damage=f"{path}: {statement.OLD_ADVICE}")
    if raw.get("_type") == statement.STATEMENT_TYPE or (named and _PARTS & raw.keys()):
        try:
            return Claims("statement", statement.parse(raw).provenance)
        except IntegrityError as error:
            return Claims("statement", damage=f"{path}: {error}")
    return Claims("")


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    """Classes, and the model of a prediction, as files of maps and polygons name them."""
    facts = {"classes": _words(tags[CLASSES_TAG])} if CLASSES_TAG in tags else {}
    return facts | ({"model sha256": tags[MODEL_TAG]} if MODEL_TAG in tags else {})


def _words(text: str) -> str:
    """A JSON list as words; any other text as it is."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return ", ".join(map(str, value)) if isinstance(value, list) else text


_READERS: Mapping[str, tuple[str, Callable[[Path], Claims]]] = {
    ".onnx": ("onnx", _onnx), ".tif": ("geotiff", _geotiff), ".tiff": ("geotiff", _geotiff),
    ".gpkg": ("geopackage", _geopackage), ".parquet": ("geoparquet", _geoparquet),
    ".geoparquet": ("geoparquet", _geoparquet), ".json": ("statement", _json), ".md": ("card", _card),
}
