"""Maps as polygons: connected areas of every class but the background, one GeoPackage layer a scene."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas as gpd

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import describe, read
from pipeline.geo.vector_io import geodesic_area_m2, trace, write_geopackage
from pipeline.types import IGNORE_INDEX, UInt8Array

_COLUMNS = ("class", "class_id", "area_m2")


def trace_classes(
    class_HW: UInt8Array, grid: Grid, classes: Sequence[str], background: str
) -> gpd.GeoDataFrame:
    """4-connected areas along pixel edges: `class`, `class_id`, `area_m2` (geodesic).

    Burnt again by pixel centres they give the map back. On a grid without a CRS there is no `area_m2`.
    """
    mask = class_HW != IGNORE_INDEX
    if background in classes:
        mask &= class_HW != list(classes).index(background)
    found = list(trace(class_HW, grid, mask))
    columns = {"class": [classes[i] for _, i in found], "class_id": [i for _, i in found]}
    frame = gpd.GeoDataFrame(columns, geometry=[g for g, _ in found], crs=grid.crs)
    if grid.crs is not None:
        frame["area_m2"] = geodesic_area_m2(frame.geometry)
    return frame[[*(c for c in _COLUMNS if c in frame), "geometry"]]


def write_polygons(
    path: Path, maps: Mapping[str, Path], classes: Sequence[str], background: str, metadata: Mapping[str, str]
) -> dict[str, int]:
    """Trace finished class maps (scene id -> file) into `path`; returns the number of polygons by scene."""
    layers = {
        scene: trace_classes(read(file), describe(file).grid, classes, background)
        for scene, file in sorted(maps.items())
    }
    write_geopackage(path, layers, metadata)
    return {scene: len(frame) for scene, frame in layers.items()}
