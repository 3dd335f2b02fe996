"""Polygons burnt window by window, with the very pixels that burning the whole raster at once gives.

GDAL compares floating-point coordinates, so a window with an origin of its own would now and then decide otherwise
about a centre that lies on an edge. Here coordinates become pixels of the whole raster, computed as GDAL does, and a
window is cut from a band of full rows: moved up by whole rows, every comparison comes out the same. Only with
`all_touched` may a boundary that passes exactly through a corner of pixels be a matter of rounding.

Shape legend: H rows, W columns.
"""

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from pipeline.geo.grid import Grid
from pipeline.types import AnyArray, Window

#: Polygons with more corners are thinned to those near the window, which flat memory needs.
_MANY_CORNERS = 1000

_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, eq=False)
class PolygonLayer:
    """Polygons of one raster: `shapes` in its pixels (column, row), `places` their places in the frame they came from.

    A pixel belongs to a polygon that covers its centre, or, with `all_touched`, to one it touches.
    """

    shapes: AnyArray
    places: npt.NDArray[np.int32]
    #: Whether the grid's rows run against its y axis (north-up): GDAL turns rings by their sense of rotation there.
    mirrored: bool
    all_touched: bool

    def __getstate__(self) -> dict[str, Any]:
        """Without the index, which is quickly made again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, geometries: gpd.GeoSeries, grid: Grid, all_touched: bool = False) -> "PolygonLayer":
        """Those of the geometries, in any CRS, that lie near the grid; the others cannot touch a pixel."""
        there = geometries.to_crs(grid.crs) if grid.crs is not None and geometries.crs is not None else geometries
        shapes = shapely.transform(shapely.force_2d(there.to_numpy()), partial(_pixels, grid.transform))
        left, top, right, bottom = shapely.bounds(shapes).T  # NaN where there is no geometry: never near
        near = (right >= 0) & (bottom >= 0) & (left <= grid.width) & (top <= grid.height)
        return cls(shapes[near], np.flatnonzero(near).astype(np.int32), grid.transform.determinant < 0, all_touched)

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)

    def uppermost(self, window: Window) -> npt.NDArray[np.int32]:
        """Place, plus 1, of the last polygon that each pixel of a window belongs to, int32 HW; 0 where there is none.

        Args:
            window: pixels of the raster; the window must lie inside it.
        """
        right, bottom = window.col + window.width, window.row + window.height
        found = np.sort(self._tree.query(shapely.box(window.col, window.row, right, bottom)))
        if len(found) == 0:
            return np.zeros((window.height, window.width), dtype=np.int32)
        shapes = _thinned(self.shapes[found], window.row, bottom)
        sign = -1 if self.mirrored else 1
        moved = shapely.transform(shapes, lambda xy: (xy - (0, window.row)) * (1, sign))
        burnt: npt.NDArray[np.int32] = rasterize(
            zip(moved, (self.places[found] + 1).tolist(), strict=True), out_shape=(window.height, right),
            transform=Affine.scale(1, sign), all_touched=self.all_touched, dtype="int32")
        return burnt[:, window.col:]


def _pixels(transform: Affine, xy: AnyArray) -> AnyArray:
    """Columns and rows of coordinates, N2, by GDAL's own arithmetic where rows run along a parallel."""
    if transform.b == 0 and transform.d == 0:
        return np.stack([-transform.c / transform.a + xy[:, 0] * (1 / transform.a),
                         -transform.f / transform.e + xy[:, 1] * (1 / transform.e)], axis=1)
    inverse = ~transform
    return np.stack([inverse.a * xy[:, 0] + inverse.b * xy[:, 1] + inverse.c,
                     inverse.d * xy[:, 0] + inverse.e * xy[:, 1] + inverse.f], axis=1)


def _thinned(shapes: AnyArray, top: int, bottom: int) -> AnyArray:
    """Large polygons without the corners that decide nothing about the rows from `top` to `bottom`."""
    large = (shapely.get_num_coordinates(shapes) > _MANY_CORNERS) & np.isin(shapely.get_type_id(shapes), _POLYGONAL)
    result: AnyArray = shapes.copy()
    for i in np.flatnonzero(large):
        parts = [_thin_polygon(part, top - 1, bottom + 1) for part in shapely.get_parts(shapes[i])]
        result[i] = shapely.multipolygons([part for part in parts if part is not None])
    return result


def _thin_polygon(polygon: BaseGeometry, top: int, bottom: int) -> BaseGeometry | None:
    """A stretch of corners above all rows (or below) becomes one edge there, which no row's centre line meets."""
    rings = []
    for ring in shapely.get_rings(polygon):
        xy = shapely.get_coordinates(ring)[:-1]
        side = (xy[:, 1] > bottom).astype(np.int8) - (xy[:, 1] < top)
        if side[0] != 0 and (side == side[0]).all():
            continue
        idle = (side != 0) & (side == np.roll(side, 1)) & (side == np.roll(side, -1))
        rings.append(shapely.linearrings(xy[~idle]))
    return shapely.Polygon(rings[0], rings[1:]) if rings else None
