"""Areas of polygons are those that geographiclib finds on the ellipsoid."""

import geopandas as gpd
import numpy as np
import pytest
from pyproj import Geod
from shapely import orient_polygons
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from pipeline.errors import LabelError
from pipeline.geo.vector_io import geodesic_area_m2

HOLE = Polygon(box(10, 50, 11, 51).exterior, [box(a, 50.2, a + 0.2, 50.4).exterior for a in (10.2, 10.6)])
FAR = box(20, -10, 20.5, -9)


@pytest.mark.parametrize(("shape", "polygons"), [
    (HOLE, HOLE), (HOLE.reverse(), HOLE), (MultiPolygon([HOLE, FAR]), MultiPolygon([HOLE, FAR])),
    (GeometryCollection([MultiPolygon([FAR]), LineString([(0, 0), (1, 1)])]), FAR),
])
def test_areas_are_those_of_geographiclib(shape: BaseGeometry, polygons: BaseGeometry) -> None:
    expected = Geod(ellps="WGS84").geometry_area_perimeter(orient_polygons(polygons))[0]
    assert geodesic_area_m2(gpd.GeoSeries([shape], crs=4326)) == pytest.approx([abs(expected)], rel=1e-12)


def test_each_area_stays_with_its_geometry() -> None:
    shapes = [Point(0, 0), None, FAR, Polygon(), MultiPolygon([FAR, HOLE]), LineString([(0, 0), (1, 1)]), HOLE]
    areas = geodesic_area_m2(gpd.GeoSeries(shapes, crs=4326))
    assert np.flatnonzero(areas).tolist() == [2, 4, 6]
    assert areas[4] == pytest.approx(areas[2] + areas[6], rel=1e-12)
    assert len(geodesic_area_m2(gpd.GeoSeries([], crs=4326))) == 0


def test_square_metres_need_a_crs() -> None:
    with pytest.raises(LabelError, match="must have a CRS where square metres are meant"):
        geodesic_area_m2(gpd.GeoSeries([FAR]))
