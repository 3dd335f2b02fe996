"""Labels moved by metres on the ground, and nothing else of them changed."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Geod
from shapely.geometry import box

from pipeline.errors import ParamsError, SceneError
from pipeline.geo.grid import Grid
from pipeline.labels.shift import check_shifts, shifted, units_per_metre
from pipeline.params.load import Params
from pipeline.params.refine_labels import RefineParams, Shift


def grid_in(crs: str, transform: Affine, size: int = 100) -> Grid:
    return Grid(CRS.from_user_input(crs).to_wkt() if crs else "", transform, size, size)


def squares(crs: object) -> gpd.GeoDataFrame:
    shapes = [box(0, 0, 1, 1), None, shapely.Polygon()]
    return gpd.GeoDataFrame({"class": list("abc"), "source_id": list("xyz")}, geometry=shapes, crs=crs, index=[3, 1, 2])


@pytest.mark.parametrize(("crs", "transform"), [
    ("EPSG:32748", Affine(10, 0, 700_000, 0, -10, 9_310_000)),
    ("EPSG:3395", Affine(10, 0, 15_600_000, 0, -10, 4_280_000)),  # Mercator at 36 N: 10 units are 8.1 m
    ("EPSG:4326", Affine(1e-4, 0, 20.0, 0, -1e-4, 60.0)),  # degrees: a metre east is twice a metre north
])
@pytest.mark.parametrize(("east", "north"), [(300.0, 0.0), (0.0, -250.0)])
def test_metres_are_metres_on_the_ground(crs: str, transform: Affine, east: float, north: float) -> None:
    grid = grid_in(crs, transform)
    middle = grid.transform @ (50, 50)
    frame = gpd.GeoDataFrame({"class": ["a"]}, geometry=[shapely.Point(middle)], crs=grid.crs)
    pair = gpd.GeoSeries([frame.geometry.iloc[0], shifted(frame, grid, east, north).geometry.iloc[0]], crs=grid.crs)
    lonlat = pair.to_crs("EPSG:4326")
    azimuth, _, metres = Geod(ellps="WGS84").inv(lonlat.x[0], lonlat.y[0], lonlat.x[1], lonlat.y[1])
    assert metres == pytest.approx(np.hypot(east, north), rel=1e-3)
    assert azimuth % 360 == pytest.approx(90 if east else 180, abs=2.5)


def test_all_else_stays() -> None:
    grid = grid_in("EPSG:32748", Affine(10, 0, 700_000, 0, -10, 9_310_000))
    frame = squares(grid.crs)
    moved = shifted(frame, grid, 10, 20)
    assert list(moved.columns) == list(frame.columns)
    assert list(moved.index) == [3, 1, 2]
    assert moved.crs == frame.crs
    step = np.array((10, 20)) * units_per_metre(grid)
    np.testing.assert_allclose(moved.geometry.iloc[0].bounds, [*step, *(step + 1)])
    assert moved.geometry.iloc[1] is None
    assert moved.geometry.iloc[2].is_empty
    assert frame.geometry.iloc[0].bounds == (0, 0, 1, 1)


def test_no_shift_is_the_frame_itself() -> None:
    grid = grid_in("EPSG:32748", Affine(10, 0, 0, 0, -10, 0))
    frame = squares(grid.crs)
    assert shifted(frame, grid, 0, 0) is frame


def test_a_grid_without_crs_knows_no_metres() -> None:
    with pytest.raises(SceneError, match="must have a CRS"):
        shifted(squares(None), grid_in("", Affine.identity()), 1, 0)


def test_an_unknown_scene_is_refused() -> None:
    check_shifts({"north": Shift(east_m=3)}, ["north", "south"])
    with pytest.raises(ParamsError, match=r"shift must name scenes among \['north', 'south'\]: got 'nort'"):
        check_shifts({"nort": Shift(east_m=3)}, ["south", "north"])


def test_params_take_shifts_by_scene_and_refuse_absurd_ones() -> None:
    task = {"bands": ["red"], "classes": [{"name": n, "color": "#000000"} for n in "ab"]}
    raw = {"seed": 1, "task": task, "acquire": {"coverage": "sparse"}}
    good = Params({**raw, "refine_labels": {"shift": {"north": {"east_m": -13.5}}}})
    assert good.section(RefineParams).shift == {"north": Shift(east_m=-13.5, north_m=0)}
    with pytest.raises(ParamsError, match=r"refine_labels.shift.north.east_m: .* less than or equal to 10000"):
        Params({**raw, "refine_labels": {"shift": {"north": {"east_m": 1e5}}}})
    with pytest.raises(ParamsError, match=r"did you mean 'east_m'"):
        Params({**raw, "refine_labels": {"shift": {"north": {"east": 1}}}})
