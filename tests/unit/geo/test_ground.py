"""Areas and pixel sizes on the ground equal geodesic ones, also of vast and far polygons."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.geo.ground import Ground
from pipeline.geo.vector_io import geodesic_area_m2

GRIDS = {
    "utm": Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 600000, 0, -10, 9329000), 10980, 10980),
    "utm at 60 north": Grid(CRS.from_epsg(32632).to_wkt(), Affine(10, 0, 300000, 0, -10, 6700000), 10980, 10980),
    "world mercator": Grid(CRS.from_epsg(3395).to_wkt(), Affine(10, 0, 15600000, 0, -10, 4300000), 4000, 4000),
    "web mercator at 60 north": Grid(CRS.from_epsg(3857).to_wkt(), Affine(10, 0, 0, 0, -10, 8399738), 3000, 3000),
    "degrees": Grid(CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, 140, 0, -1e-4, 37), 8000, 9000),
    "coarse pixels": Grid(CRS.from_epsg(32736).to_wkt(), Affine(1000, 0, 300000, 0, -1000, 900000), 300, 200),
}


def blobs(grid: Grid, size_px: float, count: int = 60) -> gpd.GeoSeries:
    """Twelve-cornered polygons all over a grid, up to `size_px` wide."""
    rng = np.random.default_rng(11)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = rng.uniform(0.2, 0.5, (count, 12)) * size_px
    col = rng.uniform(size_px, grid.width - size_px, (count, 1)) + radius * np.cos(angle)
    row = rng.uniform(size_px, grid.height - size_px, (count, 1)) + radius * np.sin(angle)
    t = grid.transform
    return gpd.GeoSeries(shapely.polygons(np.stack([t.a * col + t.c, t.e * row + t.f], axis=-1)), crs=grid.crs)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("size_px", [5, 300])
def test_areas_equal_geodesic_ones(name: str, size_px: int) -> None:
    grid = GRIDS[name]
    shapes = blobs(grid, min(size_px, 30) if name == "coarse pixels" else size_px)
    assert Ground(grid).area_m2(shapes.to_numpy()) == pytest.approx(geodesic_area_m2(shapes), rel=1e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_pixels_by_row_equal_geodesic_ones(name: str) -> None:
    grid, ground = GRIDS[name], Ground(GRIDS[name])
    t = grid.transform
    for row in (0, grid.height // 3, grid.height - 1):
        by_row, step = ground.rows_m2(row, 1)
        cols = np.array([0, grid.width // 2, grid.width - 1])
        pixels = [shapely.box(*(t @ (c, row + 1)), *(t @ (c + 1, row))) for c in cols]
        expected = geodesic_area_m2(gpd.GeoSeries(pixels, crs=grid.crs))
        between = np.interp((cols + 0.5) / step, np.arange(by_row.shape[1]), by_row[0])
        assert between == pytest.approx(expected, rel=1e-5)
        assert ground.pixel_m2(np.full(3, row + 0.5), cols + 0.5) == pytest.approx(expected, rel=1e-5)


def test_vast_and_far_polygons_are_measured_by_geodesics() -> None:
    grid = GRIDS["degrees"]
    vast, far = shapely.box(140.1, 36.3, 140.8, 36.9), shapely.box(10, 10, 10.1, 10.1)
    shapes = np.array([vast, far, None, shapely.Polygon()], dtype=object)
    expected = geodesic_area_m2(gpd.GeoSeries([vast, far], crs=4326))
    assert Ground(grid).area_m2(shapes).tolist() == [*expected, 0, 0]


def test_a_grid_that_counts_in_pixels_has_no_square_metres() -> None:
    with pytest.raises(SceneError, match="must have a CRS where metres are meant"):
        Ground(Grid("", Affine.identity(), 10, 10)).area_m2(np.array([shapely.box(0, 0, 1, 1)]))
