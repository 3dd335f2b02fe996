"""Polygons of several scenes as one GeoParquet file, with metadata of our own in its footer.

GeoParquet 1.0: https://geoparquet.org/releases/v1.0.0/. Reading is `vector_io.read_vectors`.
"""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import pandas as pd

from pipeline.errors import SceneError
from pipeline.paths import staged_file

#: Where scenes differ in their CRS: WGS 84 longitude and latitude, GeoParquet's default.
_COMMON_CRS = "OGC:CRS84"


def joined(layers: Mapping[str, gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """All layers in order, as one frame with the layer's name in column `scene`.

    It is in the CRS that all layers share, else in longitude and latitude; without one where none has any.

    Raises:
        SceneError: some layers have a CRS and others have none.
    """
    systems = [frame.crs for frame in layers.values()]
    if any(crs is None for crs in systems) and any(crs is not None for crs in systems):
        bare = sorted(name for name, frame in layers.items() if frame.crs is None)
        raise SceneError(f"scenes of one GeoParquet file must all have a CRS, or none of them: {bare} have none; set "
                         "it in the files that were acquired")
    shared = all(crs == systems[0] for crs in systems)
    frames = [frame if shared else frame.to_crs(_COMMON_CRS) for frame in layers.values()]
    named = [frame.assign(scene=name)[["scene", *frame.columns]] for name, frame in zip(layers, frames, strict=True)]
    filled = [frame for frame in named if not frame.empty] or named[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), crs=filled[0].crs)


def write_geoparquet(path: Path, frame: gpd.GeoDataFrame, metadata: Mapping[str, str]) -> None:
    """Write a frame without its index, byte-equal for equal input; `metadata` goes into the file's footer."""
    import pyarrow.parquet as pq

    with staged_file(path) as partial:
        frame.to_parquet(partial, index=False)
        table = pq.read_table(partial)
        own = {key.encode(): value.encode() for key, value in metadata.items()}
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **own}), partial, compression="zstd")
