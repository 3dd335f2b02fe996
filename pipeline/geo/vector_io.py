"""Reading, writing, burning and tracing vector data: the only module that opens vector files."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import Geod
from rasterio.features import rasterize, shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pipeline.errors import LabelError
from pipeline.geo.grid import Grid
from pipeline.paths import staged_file
from pipeline.types import AnyArray, BoolArray, UInt8Array

_GEOD = Geod(ellps="WGS84")
_PARQUET = (".parquet", ".geoparquet", ".pq")


def read_vectors(path: Path, layer: str = "") -> gpd.GeoDataFrame:
    """All features of a layer (the only one, if `layer` is "").

    Raises:
        LabelError: the file is missing or unreadable, the layer does not exist, or several exist and none was named.
    """
    if not path.exists():
        raise LabelError(f"vector file {path} must exist: not found")
    if path.suffix.lower() in _PARQUET:
        return _read_parquet(path, layer)
    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        if not layer and len(layers) > 1:
            raise LabelError(f"vector file {path} must have one layer where none is named: got {layers}; set layer")
        return gpd.read_file(path, layer=layer or layers[0])
    except (DataSourceError, DataLayerError) as error:
        raise LabelError(f"vector file {path} must be readable by GDAL: {error}") from error


def _read_parquet(path: Path, layer: str) -> gpd.GeoDataFrame:
    from pyarrow import ArrowException

    if layer:
        raise LabelError(f"vector file {path} must be named without a layer, GeoParquet has none: got {layer!r}; "
                         "leave layer empty")
    try:
        return gpd.read_parquet(path)
    except (ArrowException, OSError, ValueError) as error:
        raise LabelError(f"vector file {path} must be readable as GeoParquet: {' '.join(str(error).split())}; "
                         "write it again with geometries") from error


@contextmanager
def _fixed_date() -> Iterator[None]:
    """GeoPackage stores a time of change; a fixed one makes equal contents equal bytes."""
    before = os.environ.get("OGR_CURRENT_DATE")
    os.environ["OGR_CURRENT_DATE"] = "1970-01-01T00:00:00Z"
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
        os.environ.pop("OGR_CURRENT_DATE")
        if before is not None:
            os.environ["OGR_CURRENT_DATE"] = before


def write_geopackage(path: Path, layers: Mapping[str, gpd.GeoDataFrame],
                     metadata: Mapping[str, str] | None = None) -> None:
    """Write layers in order to one GeoPackage, byte-equal for equal input; `metadata` goes to every layer."""
    with staged_file(path) as partial, _fixed_date(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CRS.*not.*set.*|'crs' was not provided.*")
        partial.unlink(missing_ok=True)
        for name, frame in layers.items():
            pyogrio.write_dataframe(frame, partial, layer=name, driver="GPKG", append=partial.exists(),
                                    layer_metadata=dict(metadata) if metadata else None,
                                    geometry_type="Unknown" if frame.empty else None)


def burn(geometries: Sequence[BaseGeometry], values: Sequence[int], grid: Grid, fill: int,
         all_touched: bool = False) -> UInt8Array:
    """Rasterize geometries (in the grid's CRS) as uint8; later ones overwrite earlier ones.

    A pixel belongs to a polygon that covers its centre, or, with `all_touched`, to one it touches.
    """
    kept = [(g, v) for g, v in zip(geometries, values, strict=True) if g is not None and not g.is_empty]
    if not kept:
        return np.full(grid.shape, fill, dtype=np.uint8)
    burnt: UInt8Array = rasterize(kept, out_shape=grid.shape, transform=grid.transform, fill=fill,
                                  all_touched=all_touched, dtype="uint8")
    return burnt


def trace(values: AnyArray, grid: Grid, mask: BoolArray | None = None) -> Iterator[tuple[BaseGeometry, int]]:
    """Polygons of equal, 4-connected pixels in the grid's CRS, with their value; only where `mask` holds."""
    source = values if values.dtype in (np.uint8, np.int16, np.int32) else values.astype(np.int32)
    for geometry, value in shapes(source, mask=mask, connectivity=4, transform=grid.transform):
        yield shape(geometry), int(value)


def geodesic_area_m2(frame: gpd.GeoSeries) -> AnyArray:
    """Areas on the WGS 84 ellipsoid in square metres, float64, one a geometry; holes count as holes.

    Raises:
        LabelError: the series has no CRS.
    """
    if frame.crs is None:
        raise LabelError("geometries must have a CRS where square metres are meant: got none; set the labels' crs")
    polygons, owner = shapely.get_parts(frame.to_crs("EPSG:4326").to_numpy(), return_index=True)
    polygons, part = shapely.get_parts(polygons, return_index=True)  # of multipolygons within collections
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.searchsorted(ring, np.arange(len(rings) + 1))
    signed = [abs(_GEOD.polygon_area_perimeter(*corners[a:b].T)[0]) for a, b in pairwise(ends.tolist())]
    outer = np.diff(polygon, prepend=-1) > 0
    areas = np.bincount(owner[part[polygon]], np.where(outer, signed, np.negative(signed)), minlength=len(frame))
    return areas.astype(np.float64)
