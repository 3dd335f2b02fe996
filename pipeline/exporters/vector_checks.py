"""What finished polygons must withstand: read back, they are what was traced, with the tags they must carry."""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd

from pipeline.errors import IntegrityError
from pipeline.geo.file_tags import geopackage_tags, geoparquet_tags, is_geoparquet
from pipeline.geo.vector_io import read_vectors


def check_geopackage(path: Path, layers: Mapping[str, gpd.GeoDataFrame], tags: Mapping[str, str]) -> None:
    """The file has these layers, their polygons and `tags`; its CRS is GDAL's word for theirs, and is not compared.

    Raises:
        IntegrityError: it does not; the message names the property.
    """
    found = geopackage_tags(path)
    _demand(path, "have layers", found.layers, tuple(layers))
    _demand_tags(path, found.tags, tags)
    for name, frame in layers.items():
        _demand_frame(path, f"in layer {name} ", read_vectors(path, name), frame)


def check_geoparquet(path: Path, frame: gpd.GeoDataFrame, tags: Mapping[str, str]) -> None:
    """The file is GeoParquet and holds the frame's rows, its CRS and `tags`.

    Raises:
        IntegrityError: it does not; the message names the property.
    """
    found = geoparquet_tags(path)
    _demand(path, "be GeoParquet, with metadata of its geometry:", is_geoparquet(found.tags), True)
    _demand_tags(path, found.tags, tags)
    back = read_vectors(path)
    _demand(path, "have CRS", back.crs, frame.crs)
    _demand_frame(path, "", back, frame)


def _demand_frame(path: Path, where: str, found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame) -> None:
    _demand(path, f"hold {where}polygons:", len(found), len(wanted))
    _demand(path, f"have {where}columns", sorted(found.columns), sorted(wanted.columns))
    same = bool((found.geometry.to_wkb() == wanted.geometry.to_wkb()).all())
    _demand(path, f"hold {where}the very outlines of its maps:", same, True)
    values = [column for column in wanted.columns if column != wanted.geometry.name]
    equal = all((found[column].to_numpy() == wanted[column].to_numpy()).all() for column in values)
    _demand(path, f"hold {where}the values that were traced:", equal, True)


def _demand_tags(path: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for key, value in wanted.items():
        _demand(path, f"carry tag {key}", found.get(key), value)


def _demand(path: Path, rule: str, actual: object, wanted: object) -> None:
    if actual != wanted:
        raise IntegrityError(f"polygons {path.name} must {rule} {wanted!r}: got {actual!r}; write them anew")
