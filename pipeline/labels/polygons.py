"""Small operations on arrays of shapely geometries that must end as polygons."""

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.types import AnyArray

_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def only_polygons(geometry: AnyArray) -> AnyArray:
    """Valid polygons and multipolygons without the lines and points an overlay left (an empty polygon if all were)."""
    result = np.array(geometry, dtype=object)
    for i in np.flatnonzero(~np.isin(shapely.get_type_id(result), _POLYGONAL)):
        parts = shapely.get_parts(shapely.get_parts(result[i]))
        result[i] = shapely.union_all(parts[np.isin(shapely.get_type_id(parts), _POLYGONAL)])
        if shapely.is_empty(result[i]):
            result[i] = shapely.Polygon()
    return repair(result)


def repair(geometry: AnyArray) -> AnyArray:
    """Invalid polygons made valid by their rings' structure; valid ones as they are."""
    result = np.array(geometry, dtype=object)
    broken = ~shapely.is_valid(result)
    result[broken] = shapely.make_valid(result[broken], method="structure", keep_collapsed=False)
    return result


def union_within(geometry: AnyArray, frame: BaseGeometry) -> BaseGeometry:
    """The union of geometries, cut to the bounding box of `frame` first, which keeps overlays of vast polygons fast."""
    box = shapely.box(*shapely.bounds(frame))
    reaching = ~shapely.covered_by(geometry, box)
    near = np.array(geometry, dtype=object)
    near[reaching] = shapely.intersection(near[reaching], box)
    return near[0] if len(near) == 1 else shapely.union_all(near)
