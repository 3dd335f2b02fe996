"""A hundred pixels of 10 m at UTM 48S, and frames of squares on them, in pixels from the upper left corner."""

from collections.abc import Callable

import geopandas as gpd
import pytest
from affine import Affine
from pyproj import CRS
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from pipeline.geo.grid import Grid


@pytest.fixture(scope="session")
def grid() -> Grid:
    return Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 100, 100)


@pytest.fixture(scope="session")
def frame_of(grid: Grid) -> Callable[..., gpd.GeoDataFrame]:
    """Frame of (class, geometry in pixels) pairs; source ids are a, b, c, ..."""

    def build(*items: tuple[str, BaseGeometry | None], crs: str | None = None) -> gpd.GeoDataFrame:
        t = grid.transform
        to_map = [t.a, t.b, t.d, t.e, t.c, t.f]
        shapes = [None if s is None else affine_transform(s, to_map) for _, s in items]
        table = {"class": [c for c, _ in items], "source_id": [chr(97 + i) for i in range(len(items))]}
        frame = gpd.GeoDataFrame(table, geometry=gpd.GeoSeries(shapes, crs=grid.crs))
        return frame.to_crs(crs) if crs else frame

    return build
