"""Maps as polygons: connected areas of every class but the background, in a GeoPackage and in GeoParquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np

from pipeline.exporters.vector_checks import check_geopackage, check_geoparquet
from pipeline.geo.geoparquet import joined, write_geoparquet
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
    """Trace finished class maps (scene id -> file); returns the number of polygons by scene.

    Args:
        path: a GeoPackage, with a layer a scene. Beside it the same polygons go to a GeoParquet file of that name, with
            the scene in a column; both are read back and checked.
        maps: the finished files.
        classes: names by id.
        background: the class that is not traced, "" for none.
        metadata: of every layer and of the GeoParquet file.

    Raises:
        IntegrityError: a finished file does not hold what was traced.
        SceneError: some scenes have a CRS and others have none.
    """
    layers = {scene: trace_classes(file, classes, background) for scene, file in sorted(maps.items())}
    write_geopackage(path, layers, metadata)
    check_geopackage(path, layers, metadata)
    frame, parquet = joined(layers), path.with_suffix(".parquet")
    write_geoparquet(parquet, frame, metadata)
    check_geoparquet(parquet, frame, metadata)
    return {scene: len(frame) for scene, frame in layers.items()}
