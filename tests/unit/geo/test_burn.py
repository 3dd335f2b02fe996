"""Windows of burnt polygons hold the very pixels of the whole raster's burn, ties on pixel centres included."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.features import shapes as traced_shapes
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
    corners = shapely.get_num_coordinates(burn._thinned(burnt.shapes, 40, 46, -1))
    assert (corners < 1500).all()
    monkeypatch.setattr(burn, "_MANY_CORNERS", 10**9)
    for row, band in zip(range(0, HEIGHT, 6), thinned, strict=True):
        assert np.array_equal(burnt.uppermost(Window(row, 0, 6, WIDTH)), band)


def traced(per_pixel: float, connectivity: int, seed: int) -> list[shapely.Geometry]:
    """Polygons of a raster of two labels with so many pixels a pixel of the grid: one has over 1000 corners."""
    size = int(HEIGHT * per_pixel), int(WIDTH * per_pixel)
    rng = np.random.default_rng(seed)
    labels = (rng.random(size) < 0.62).astype(np.uint8)
    found = traced_shapes(labels, mask=labels == 1, connectivity=connectivity, transform=Affine.scale(1 / per_pixel))
    return [shapely.geometry.shape(geometry) for geometry, _ in found]


def burnt_at_once(shapes: list[shapely.Geometry], transform: Affine, touched: bool) -> np.ndarray:
    t = transform
    on_map = gpd.GeoSeries(shapes).affine_transform([t.a, t.b, t.d, t.e, t.c, t.f])
    found: np.ndarray = rasterize(zip(on_map, range(1, len(shapes) + 1), strict=True), out_shape=(HEIGHT, WIDTH),
                                  transform=t, all_touched=touched, dtype="int32")
    return found


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("name", ["metres", "degrees", "south-up"])
@pytest.mark.parametrize(("per_pixel", "connectivity"), [(2, 4), (1, 4), (1, 8), (0.5, 8)])
def test_polygons_traced_from_rasters_by_windows(per_pixel: float, connectivity: int, name: str, touched: bool,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Their edges lie on rows of centres (two pixels a pixel) or between them."""
    monkeypatch.setattr(burn, "_MANY_CORNERS", 500)
    shapes = traced(per_pixel, connectivity, seed=3)
    assert (shapely.get_num_coordinates(shapes) > 500).any()
    burnt = layer(TRANSFORMS[name], shapes, touched)
    expected = burnt_at_once(shapes, TRANSFORMS[name], touched)
    for rows in (6, 32):
        bands = [burnt.uppermost(Window(r, 0, min(rows, HEIGHT - r), WIDTH)) for r in range(0, HEIGHT, rows)]
        assert np.array_equal(np.concatenate(bands), expected)
    assert np.array_equal(burnt.uppermost(Window(20, 30, 25, 17)), expected[20:45, 30:47])


@pytest.mark.parametrize("name", ["metres", "degrees", "south-up"])
def test_any_thinned_polygon_is_burnt_as_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes, diamonds, holes, repeated corners and corners on edges, at halves of pixels."""
    monkeypatch.setattr(burn, "_MANY_CORNERS", 4)
    rng = np.random.default_rng(0)
    corners = rng.integers(-20, 2 * WIDTH, (40, 2)) / 2
    boxes = shapely.box(*corners.T, *(corners + rng.integers(1, 80, (40, 2)) / 2).T)
    diamonds = shapely.buffer(shapely.points(corners), rng.integers(1, 60, 40) / 2, quad_segs=1)
    holed = shapely.difference(np.concatenate([boxes, diamonds]), shapely.union_all(boxes[:6]))
    repeated = [shapely.Polygon(np.repeat(shapely.get_coordinates(p), 2, axis=0)) for p in (*boxes[6:], *diamonds)]
    mixed = [*boxes, *diamonds, *holed, *repeated, *shapely.segmentize(boxes, 0.5)]
    shapes = [mixed[i] for i in rng.permutation(len(mixed)) if not mixed[i].is_empty]
    burnt, expected = layer(TRANSFORMS[name], shapes), burnt_at_once(shapes, TRANSFORMS[name], False)
    for rows in (3, 40):
        bands = [burnt.uppermost(Window(r, 0, min(rows, HEIGHT - r), WIDTH)) for r in range(0, HEIGHT, rows)]
        assert np.array_equal(np.concatenate(bands), expected)


def test_a_ring_is_thinned_only_where_its_sense_is_plain() -> None:
    """GDAL tells the sense by the lowest corner, the rightmost of several, and those beside it."""
    ring = np.array([*((x, 60.5) for x in range(50)), *((x, 0.0) for x in range(49, -1, -1))])
    assert ring[burn._corners_of_sense(ring, 1)].tolist() == [[49, 60.5], [49, 0], [48, 0]]
    assert ring[burn._corners_of_sense(ring, -1)].tolist() == [[48, 60.5], [49, 60.5], [49, 0]]
    for unclear in (np.repeat(ring, 2, axis=0), np.insert(ring, 51, (49 - 5e-6, 0), axis=0),
                    np.insert(ring, 51, (49, 60.5), axis=0)):
        assert len(burn._corners_of_sense(unclear, 1)) == 0
        left = burn._thin_polygon(shapely.Polygon(unclear), 20, 30, 1)
        assert left is not None
        assert shapely.get_num_coordinates(left) == len(unclear) + 1
    for sign in (1, -1):
        thin = burn._thin_polygon(shapely.Polygon(ring), 20, 30, sign)
        assert thin is not None
        assert shapely.get_num_coordinates(thin) == 4 + 1 + 1, "four at the crossings, one beside the lowest, closed"


def test_a_large_polygon_of_which_no_part_meets_the_window() -> None:
    parts = [shapely.segmentize(box(10, top, 60, top + 5), 0.1) for top in (2, 80)]
    burnt = layer(TRANSFORMS["metres"], [shapely.multipolygons(parts)])
    assert (burnt.uppermost(Window(40, 0, 6, WIDTH)) == 0).all()
    assert (burnt.uppermost(Window(78, 0, 6, WIDTH)) == 1).sum() == 4 * 50


@pytest.mark.parametrize(("x", "reach"), [(WIDTH, 65.5), (np.nextafter(WIDTH, 0), 65.5), (1e-16, -65.5)])
def test_a_corner_on_the_border_above_a_window_touches_nothing_in_it(x: float, reach: float) -> None:
    """GDAL takes the edge for one that enters the window, and may write past its memory, which ends processes."""
    shape = shapely.Polygon([(x, 39.5), (x + reach, 39.5 + 65.5), (x + reach, 39.5)])
    burnt = layer(Affine(1, 0, 0, 0, 1, 0), [shape], touched=True)
    for rows in (1, 2, 3):
        assert (burnt.uppermost(Window(40, 0, rows, WIDTH)) == 0).all()
    assert burn._safe_width(shapely.points([[70.0, 1], [71, 2], [71.5, 3], [73, 4], [20, 5]]), 70) == 72


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
