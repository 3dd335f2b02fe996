"""Clean outlines for one scene: repair, drop doubles, clip to the footprint, settle overlaps."""

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import geodesic_area_m2
from pipeline.labels.ledger import ScenePage
from pipeline.labels.polygons import only_polygons, repair, union_within
from pipeline.types import AnyArray, BoolArray

#: Overlaps below this share of the smaller polygon are rounding along a common edge.
_TOUCHING = 1e-6


def near_scene(raw: gpd.GeoDataFrame, grid: Grid) -> gpd.GeoDataFrame:
    """The outlines whose bounding box meets the scene's, in the scene's CRS and with their geodesic areas.

    Missing geometries meet no scene.
    """
    moved = raw.to_crs(grid.crs)
    left, bottom, right, top = grid.bounds
    b = moved.geometry.bounds.to_numpy()
    meets = (b[:, 0] < right) & (b[:, 2] > left) & (b[:, 1] < top) & (b[:, 3] > bottom) & np.isfinite(b).all(axis=1)
    near = moved[meets].reset_index(drop=True)
    return near.assign(area_m2=geodesic_area_m2(near.geometry))


def clean(outlines: gpd.GeoDataFrame, grid: Grid, page: ScenePage) -> gpd.GeoDataFrame:
    """Valid, pairwise disjoint polygons within the scene's footprint.

    Where outlines overlap, the later one in the file lies on top, as when they are drawn or burnt in order.
    """
    return _separate(_clip(_without_doubles(_repaired(outlines, page), page), footprint(grid), page), page)


def footprint(grid: Grid) -> shapely.Polygon:
    """The scene's outer edge in its CRS."""
    corners = ((0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height))
    return shapely.Polygon([grid.transform @ corner for corner in corners])


def _repaired(outlines: gpd.GeoDataFrame, page: ScenePage) -> gpd.GeoDataFrame:
    shapes = outlines.geometry.to_numpy()
    mixed = shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
    broken: BoolArray = ~shapely.is_valid(shapes) | mixed
    reasons = [shapely.is_valid_reason(s).partition("[")[0] if not shapely.is_valid(s) else "not only polygons"
               for s in shapes[broken]]
    return page.amend(outlines, broken, only_polygons(repair(shapes[broken])), "repaired", reasons)


def _without_doubles(outlines: gpd.GeoDataFrame, page: ScenePage) -> gpd.GeoDataFrame:
    normal = shapely.to_wkb(shapely.normalize(outlines.geometry.to_numpy()))
    keys = pd.DataFrame({"class": outlines["class"].to_numpy(), "shape": normal})
    return page.drop(outlines, keys.duplicated().to_numpy(), "the same polygon came before")


def _clip(outlines: gpd.GeoDataFrame, edge: shapely.Polygon, page: ScenePage) -> gpd.GeoDataFrame:
    shapely.prepare(edge)
    shapes = outlines.geometry.to_numpy()
    reaching: BoolArray = ~shapely.covered_by(shapes, edge)
    cut = shapely.intersection(shapes[reaching], edge)
    return page.amend(outlines, reaching, cut, "clipped", ["beyond the scene"] * len(cut))


def _separate(outlines: gpd.GeoDataFrame, page: ScenePage) -> gpd.GeoDataFrame:
    shapes, sources = outlines.geometry.to_numpy(), outlines["source_id"].to_numpy()
    lower, upper = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    lower, upper = _overlapping(shapes, lower[upper > lower], upper[upper > lower])
    covered = np.isin(np.arange(len(shapes)), lower)
    above = {i: np.sort(upper[lower == i]) for i in np.flatnonzero(covered)}
    rests = np.array([shapely.difference(shapes[i], union_within(shapes[j], shapes[i])) for i, j in above.items()],
                     dtype=object)
    return page.amend(outlines, covered, rests, "clipped",
                      [f"lies under {', '.join(sources[j])}" for j in above.values()])


def _overlapping(shapes: AnyArray, lower: AnyArray, upper: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Pairs that share more ground than an edge."""
    shared = shapely.area(shapely.intersection(shapes[lower], shapes[upper]))
    real = shared > _TOUCHING * np.minimum(shapely.area(shapes[lower]), shapely.area(shapes[upper]))
    return lower[real], upper[real]
