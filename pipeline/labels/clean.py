"""Clean outlines for one scene: repair, drop doubles, clip to the footprint, settle overlaps."""

import geopandas as gpd
import numpy as np
import shapely

from pipeline.geo.grid import Grid
from pipeline.geo.ground import Ground
from pipeline.labels.ledger import ScenePage
from pipeline.labels.polygons import Polygons, only_polygons, repair, shares_ground, union_within
from pipeline.labels.shift import shifted
from pipeline.labels.threads import in_threads
from pipeline.params.refine_labels import Shift
from pipeline.types import AnyArray, BoolArray

#: Overlaps below this share of the smaller polygon are rounding along a common edge.
_TOUCHING = 1e-6


def near_scene(raw: gpd.GeoDataFrame, ground: Ground, shift: Shift | None = None) -> Polygons:
    """The outlines whose bounding box meets the scene's, in the scene's CRS and with their areas on the ellipsoid.

    Missing geometries meet no scene.

    Args:
        raw: outlines, in any CRS.
        ground: the scene's.
        shift: by how much the outlines are moved first.
    """
    grid = ground.grid
    moved = raw.to_crs(grid.crs)
    if shift is not None:
        moved = shifted(moved, grid, shift.east_m, shift.north_m)
    left, bottom, right, top = grid.bounds
    b = moved.geometry.bounds.to_numpy()
    meets = (b[:, 0] < right) & (b[:, 2] > left) & (b[:, 1] < top) & (b[:, 3] > bottom) & np.isfinite(b).all(axis=1)
    near = moved[meets]
    return Polygons.of(near, ground.area_m2(near.geometry.to_numpy()))


def clean(outlines: Polygons, grid: Grid, page: ScenePage) -> Polygons:
    """Valid, pairwise disjoint polygons within the scene's footprint.

    Where outlines overlap, the later one in the file lies on top, as when they are drawn or burnt in order.
    """
    return _separate(_clip(_without_doubles(_repaired(outlines, page), page), footprint(grid), page), page)


def footprint(grid: Grid) -> shapely.Polygon:
    """The scene's outer edge in its CRS."""
    corners = ((0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height))
    return shapely.Polygon([grid.transform @ corner for corner in corners])


def _repaired(outlines: Polygons, page: ScenePage) -> Polygons:
    shapes = outlines.shapes
    mixed = shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
    broken: BoolArray = ~shapely.is_valid(shapes) | mixed
    reasons = [shapely.is_valid_reason(s).partition("[")[0] if not shapely.is_valid(s) else "not only polygons"
               for s in shapes[broken]]
    return page.amend(outlines, broken, only_polygons(repair(shapes[broken])), "repaired", reasons)


def _without_doubles(outlines: Polygons, page: ScenePage) -> Polygons:
    """Without outlines that come again later: the last of them is the one that lies on top of others."""
    seen: set[tuple[str, bytes]] = set()
    keys = list(zip(outlines.classes, shapely.to_wkb(shapely.normalize(outlines.shapes)), strict=True))
    double = np.zeros(len(outlines), dtype=np.bool_)
    for i in range(len(keys) - 1, -1, -1):
        double[i] = keys[i] in seen
        seen.add(keys[i])
    return page.drop(outlines, double, "the same polygon comes later")


def _clip(outlines: Polygons, edge: shapely.Polygon, page: ScenePage) -> Polygons:
    shapely.prepare(edge)
    shapes = outlines.shapes
    reaching: BoolArray = ~shapely.covered_by(shapes, edge)
    cut = shapely.intersection(shapes[reaching], edge)
    return page.amend(outlines, reaching, cut, "clipped", ["beyond the scene"] * len(cut))


def _separate(outlines: Polygons, page: ScenePage) -> Polygons:
    shapes, sources = outlines.shapes, outlines.source_ids
    lower, upper = shapely.STRtree(shapes).query(shapes)
    lower, upper = _overlapping(shapes, lower[upper > lower], upper[upper > lower])
    covered = np.isin(np.arange(len(shapes)), lower)
    above = {i: np.sort(upper[lower == i]) for i in np.flatnonzero(covered)}
    rests = np.array([shapely.difference(shapes[i], union_within(shapes[j], shapes[i])) for i, j in above.items()],
                     dtype=object)
    return page.amend(outlines, covered, rests, "clipped",
                      [f"lies under {', '.join(sources[j])}" for j in above.values()])


def _overlapping(shapes: AnyArray, lower: AnyArray, upper: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Pairs that share more ground than an edge."""
    inside = shares_ground(shapes, lower, shapes, upper)
    lower, upper = lower[inside], upper[inside]
    shared = shapely.area(in_threads(shapely.intersection, shapes[lower], shapes[upper]))
    real = shared > _TOUCHING * np.minimum(shapely.area(shapes[lower]), shapely.area(shapes[upper]))
    return lower[real], upper[real]
