"""Points that stand for ground: circles of a radius in metres, wherever the points lie."""

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS, Geod, Transformer

from pipeline.types import AnyArray

_GEOD = Geod(ellps="WGS84")
#: Corners of a circle; its area is 0.16 % too small.
_CORNERS = 64


def circles(points: gpd.GeoSeries, radius_m: float) -> AnyArray:
    """A polygon around each point, in the points' CRS, whose corners lie `radius_m` from it on the WGS 84 ellipsoid.

    Corners are found by the direct geodesic problem (Karney 2013, J Geod 87, 43-55), which gives the circle of an
    azimuthal equidistant projection centred on each point. Of a multipoint, the union of its circles.

    Args:
        points: points or multipoints, with a CRS and none of them empty.
        radius_m: the radius in metres on the ground.
    """
    crs: CRS = points.crs
    parts, owner = shapely.get_parts(shapely.force_2d(points.to_numpy()), return_index=True)
    there = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = there.transform(shapely.get_x(parts), shapely.get_y(parts))
    azimuths = np.linspace(0, -360, _CORNERS, endpoint=False)  # against the clock
    shape = (len(parts), _CORNERS)
    corner_lon, corner_lat, _ = _GEOD.fwd(np.repeat(lon, _CORNERS), np.repeat(lat, _CORNERS),
                                          np.tile(azimuths, len(parts)), np.full(len(parts) * _CORNERS, radius_m))
    x, y = there.transform(corner_lon, corner_lat, direction="INVERSE")
    if crs.is_geographic:  # a circle across the 180th meridian stays in one piece
        centre = np.repeat(shapely.get_x(parts), _CORNERS)
        x = centre + (np.asarray(x) - centre + 180) % 360 - 180
    rings = np.stack([np.reshape(x, shape), np.reshape(y, shape)], axis=-1)
    shapes = shapely.polygons(rings)
    single = np.bincount(owner, minlength=len(points)) == 1
    found = np.empty(len(points), dtype=object)
    found[owner] = shapes
    for i in np.flatnonzero(~single):
        found[i] = shapely.union_all(shapes[owner == i])
    return found
