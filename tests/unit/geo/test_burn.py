"""Windows of burnt polygons hold the very pixels of the whole raster's burn, ties on pixel centres included."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.features import rasterize
from shapely.geometry import box

from pipeline.geo import burn
from pipeline.geo.burn import PolygonLayer
from pipeline.geo.grid import Grid
from pipeline.types import Window

HEIGHT, WIDTH = 90, 70


def star(points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a jagged ring around (35, 45), and those of its hole."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius = 20 + 18 * np.random.default_rng(seed).random(points)
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (35, 45) + radius[:, None] * around, (35, 45) + radius[:, None] / 2 * around


def shapes_in_pixels(seed: int) -> list[shapely.Geometry]:
    """Discs, triangles and boxes with corners on quarters of pixels, and stars of many corners with a hole."""
    rng = np.random.default_rng(seed)
    centres, radii = rng.random((60, 2)) * (WIDTH, HEIGHT), rng.uniform(0.3, 12, 60)
    discs = shapely.buffer(shapely.points(centres), radii, quad_segs=3)
    triangles = [shapely.polygons(rng.integers(0, 4 * WIDTH, (3, 2)) / 4) for _ in range(60)]
    boxes = [box(x, y, x + w, y + h) for x, y, w, h in rng.integers(0, 2 * WIDTH, (60, 4)) / 2 / (1, 1, 4, 4)]
    stars = [shapely.Polygon(outer, [inner]) for outer, inner in (star(n, seed + n) for n in (40, 1500))]
    mixed = [*discs, *triangles, *boxes, *stars, shapely.multipolygons([stars[1], boxes[0]])]
    rng.shuffle(mixed)  # type: ignore[arg-type]
    return mixed


def layer(transform: Affine, shapes: list[shapely.Geometry], touched: bool = False) -> PolygonLayer:
    t = transform
    frame = gpd.GeoSeries(shapes).affine_transform([t.a, t.b, t.d, t.e, t.c, t.f])
    return PolygonLayer.of(frame, Grid("", transform, HEIGHT, WIDTH), touched)


TRANSFORMS = {"metres": Affine(10, 0, 700000, 0, -10, 9310000), "odd": Affine(0.3, 0, 700000.1, 0, -0.3, 9310000.7),
              "degrees": Affine(1e-4, 0, 23.9, 0, -1e-4, 60.1), "south-up": Affine(10, 0, 700000, 0, 10, 9300000),
              "rotated": Affine(10, 0, 700000, 0, -10, 9310000) @ Affine.rotation(30)}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_windows_are_cut_from_the_whole(name: str, seed: int) -> None:
    shapes = shapes_in_pixels(seed)
    burnt = layer(TRANSFORMS[name], shapes)
    whole = burnt.uppermost(Window(0, 0, HEIGHT, WIDTH))
    for rows in (1, 7, 32):
        bands = [burnt.uppermost(Window(r, 0, min(rows, HEIGHT - r), WIDTH)) for r in range(0, HEIGHT, rows)]
        assert np.array_equal(np.concatenate(bands), whole)
    assert np.array_equal(burnt.uppermost(Window(20, 30, 25, 17)), whole[20:45, 30:47])


@pytest.mark.parametrize("name", ["metres", "odd", "degrees", "south-up"])
def test_the_whole_is_what_gdal_burns(name: str) -> None:
    transform, shapes = TRANSFORMS[name], shapes_in_pixels(2)
    burnt = layer(transform, shapes)
    on_map = gpd.GeoSeries(shapes).affine_transform([transform.a, 0, 0, transform.e, transform.c, transform.f])
    expected = rasterize(zip(on_map, range(1, len(on_map) + 1), strict=True), out_shape=(HEIGHT, WIDTH),
                         transform=transform, dtype="int32")
    assert np.array_equal(burnt.uppermost(Window(0, 0, HEIGHT, WIDTH)), expected)


def test_thinning_large_polygons_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [shapely.Polygon(outer, [inner]) for outer, inner in (star(3000, seed) for seed in range(3))]
    burnt = layer(TRANSFORMS["metres"], shapes)
    thinned = [burnt.uppermost(Window(row, 0, 6, WIDTH)) for row in range(0, HEIGHT, 6)]
    corners = shapely.get_num_coordinates(burn._thinned(burnt.shapes, 40, 46))
    assert (corners < 1500).all()
    monkeypatch.setattr(burn, "_MANY_CORNERS", 10**9)
    for row, band in zip(range(0, HEIGHT, 6), thinned, strict=True):
        assert np.array_equal(burnt.uppermost(Window(row, 0, 6, WIDTH)), band)


def test_touched_pixels_by_windows() -> None:
    rng = np.random.default_rng(5)
    discs = list(shapely.buffer(shapely.points(rng.random((40, 2)) * (WIDTH, HEIGHT)), rng.uniform(0.1, 9, 40)))
    burnt = layer(TRANSFORMS["metres"], discs, touched=True)
    whole = burnt.uppermost(Window(0, 0, HEIGHT, WIDTH))
    bands = np.concatenate([burnt.uppermost(Window(r, 0, 9, WIDTH)) for r in range(0, HEIGHT, 9)])
    assert np.array_equal(bands, whole)
    assert (whole > 0).sum() > (layer(TRANSFORMS["metres"], discs).uppermost(Window(0, 0, HEIGHT, WIDTH)) > 0).sum()


def test_later_polygons_lie_on_top_and_others_are_left_out() -> None:
    shapes = [box(0, 0, 4, 4), None, box(500, 500, 501, 501), shapely.Polygon(), box(2, 2, 6, 6)]
    frame = gpd.GeoSeries(shapes, crs="EPSG:32748")
    burnt = PolygonLayer.of(frame, Grid(CRS.from_epsg(32748).to_wkt(), Affine(1, 0, 0, 0, 1, 0), 8, 8))
    assert burnt.places.tolist() == [0, 4]
    found = burnt.uppermost(Window(0, 0, 8, 8))
    assert found[3, 3] == 5
    assert [int((found == number).sum()) for number in (0, 1, 5)] == [64 - 28, 12, 16]
    assert (burnt.uppermost(Window(7, 7, 1, 1)) == 0).all()


def test_labels_in_another_crs_and_too_far_to_have_coordinates_here() -> None:
    grid = Grid(CRS.from_epsg(32748).to_wkt(), TRANSFORMS["metres"], HEIGHT, WIDTH)
    near = gpd.GeoSeries([box(700100, 9309500, 700300, 9309800)], crs=grid.crs).to_crs(4326)
    everywhere = gpd.GeoSeries([near.iloc[0], box(-75, -80, -74, -79)], crs=4326)
    burnt = PolygonLayer.of(everywhere, grid)
    assert burnt.places.tolist() == [0]
    assert (burnt.uppermost(Window(0, 0, HEIGHT, WIDTH)) == 1).sum() == 20 * 30
