"""Maps as polygons: connected areas of every class but the background, one GeoPackage layer a scene."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np

from pipeline.geo.raster_io import describe, open_windows
from pipeline.geo.scratch import scratch_array
from pipeline.geo.vector_io import geodesic_area_m2, trace, write_geopackage
from pipeline.geo.windows import row_bands
from pipeline.types import IGNORE_INDEX

#: Rows read at a time: those of a block of a Cloud Optimized GeoTIFF.
_ROWS = 512

_COLUMNS = ("class", "class_id", "area_m2")


def trace_classes(path: Path, classes: Sequence[str], background: str) -> gpd.GeoDataFrame:
    """4-connected areas of a class map along pixel edges: `class`, `class_id`, `area_m2` (geodesic).

    Burnt again by pixel centres they give the map back. On a grid without a CRS there is no `area_m2`. The map and its
    mask are laid out in scratch files beside it; memory is that of the polygons.
    """
    grid = describe(path).grid
    class_HW, mask = (scratch_array(grid.shape, dtype, path.parent) for dtype in (np.uint8, np.bool_))
    with open_windows(path) as reader:
        for window in row_bands(grid.height, grid.width, _ROWS):
            ids = reader.read(window, [1])[0]
            class_HW[window.slices], mask[window.slices] = ids, ids != IGNORE_INDEX
            if background in classes:
                mask[window.slices] &= ids != list(classes).index(background)
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
    layers = {scene: trace_classes(file, classes, background) for scene, file in sorted(maps.items())}
    write_geopackage(path, layers, metadata)
    return {scene: len(frame) for scene, frame in layers.items()}
