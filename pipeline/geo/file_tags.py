"""What a vector file says of itself beside its features: metadata of GeoPackage layers and of GeoParquet files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import LabelError


@dataclass(frozen=True)
class VectorTags:
    """Metadata as text by key, names of the layers (one without a name in GeoParquet), and all their features."""

    tags: Mapping[str, str]
    layers: tuple[str, ...]
    features: int


def geopackage_tags(path: Path) -> VectorTags:
    """The metadata of a GeoPackage's layers; of a key that several layers have, the first layer's value.

    Raises:
        LabelError: GDAL cannot open the file.
    """
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        layers = tuple(str(name) for name in pyogrio.list_layers(path)[:, 0])
        infos = [pyogrio.read_info(path, layer=name) for name in layers]
    except (DataSourceError, DataLayerError) as error:
        raise LabelError(f"vector file {path} must be a GeoPackage GDAL can open: {error}; copy it again") from error
    tags: dict[str, str] = {}
    for info in infos:
        tags = dict(info["layer_metadata"] or {}) | tags
    return VectorTags(tags, layers, sum(int(info["features"]) for info in infos))


def geoparquet_tags(path: Path) -> VectorTags:
    """The key-value metadata of a Parquet file's footer that are text; arrow's own schema is left out.

    Raises:
        LabelError: the file is no Parquet.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        footer = pq.read_metadata(path)
    except (ArrowException, OSError) as error:
        raise LabelError(f"vector file {path} must be readable as Parquet: {' '.join(str(error).split())}; "
                         "copy it again") from error
    raw: Mapping[bytes, bytes] = footer.metadata or {}
    tags = {key.decode(): value.decode() for key, value in raw.items() if not key.startswith(b"ARROW:")}
    return VectorTags(tags, (), int(footer.num_rows))


def is_geoparquet(tags: Mapping[str, str]) -> bool:
    """Whether the metadata have GeoParquet's own entry `geo` with a primary column (GeoParquet 1.0, file metadata)."""
    try:
        geo: Any = json.loads(tags.get("geo", "null"))
    except json.JSONDecodeError:
        return False
    return isinstance(geo, dict) and "primary_column" in geo
