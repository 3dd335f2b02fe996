"""The least and the greatest pixel of a grid in metres: in degrees, in a conformal map, with slanted axes."""

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Geod

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.splits.pixel_size import least_pixel_m, most_pixel_m
from tests.unit.splits.conftest import grid_of

GEOD = Geod(ellps="WGS84")


def test_in_degrees_the_narrowest_row_counts() -> None:
    grid = grid_of((600, 300), "EPSG:4326", 0.02, (10.0, 66.0))  # 66 to 54 degrees north
    _, _, north = GEOD.inv(10, 65.99, 10.02, 65.99)
    _, _, south = GEOD.inv(10, 54.01, 10.02, 54.01)
    assert least_pixel_m(grid)[0] == pytest.approx(north, rel=1e-5)
    assert least_pixel_m(grid)[0] < north
    assert most_pixel_m(grid)[0] == pytest.approx(south, rel=1e-5)
    assert least_pixel_m(grid)[1] < grid.ground_pixel_m[1] < most_pixel_m(grid)[1]


def test_in_a_conformal_map_of_a_small_scene_all_pixels_are_about_equal() -> None:
    grid = grid_of((100, 100))
    for one in (least_pixel_m(grid), most_pixel_m(grid)):
        assert one == pytest.approx(grid.ground_pixel_m, rel=1e-5)


def test_slanted_axes_bring_points_together() -> None:
    """Axes at 60 degrees: a row down and a column left are one pixel apart, not the root of two."""
    transform = Affine(10, 5, 500_000, 0, -10 * np.sin(np.pi / 3), 5_000_000)
    grid = Grid(CRS.from_epsg(32633).to_wkt(), transform, 50, 50)
    width, height = least_pixel_m(grid)
    assert np.hypot(width, height) == pytest.approx(10, rel=1e-3)
    assert np.hypot(*most_pixel_m(grid)) == pytest.approx(10 * 3**0.5, rel=1e-3)


def test_without_a_crs_there_are_no_metres() -> None:
    with pytest.raises(SceneError, match="must have a CRS where metres are meant"):
        least_pixel_m(Grid("", Affine.identity(), 3, 3))


def test_outside_the_crs_is_refused() -> None:
    with pytest.raises(SceneError, match="must lie where its CRS is defined"):
        least_pixel_m(grid_of((10, 10), pixel=1e7))
