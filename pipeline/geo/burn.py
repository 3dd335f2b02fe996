"""Polygons burnt window by window, with the very pixels that burning the whole raster at once gives.

GDAL compares floating-point coordinates, so a window with an origin of its own would now and then decide otherwise
about a centre that lies on an edge. Here coordinates become pixels of the whole raster, computed as GDAL does, and a
window is cut from a band of full rows: moved up by whole rows, every comparison comes out the same. Only with
`all_touched` may a sloped edge that passes exactly through a corner of pixels, or ends on a side of one, be a matter
of rounding: GDAL walks along it from where it enters the raster.

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

#: Nearer than this along both axes are corners that GDAL takes for one where it tells a ring's sense of rotation.
_SAME_PLACE = 1e-5

#: Corners nearer than this to a raster's border may be taken for corners on it.
_ON_BORDER = 1e-6

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
        sign = -1 if self.mirrored else 1
        top = window.row - int(self.all_touched and window.row > 0)  # GDAL may touch too much of the first row
        shapes = _thinned(self.shapes[found], top, bottom, sign)
        left = ~shapely.is_empty(shapes)  # of a large one, no part may be near
        if not left.any():
            return np.zeros((window.height, window.width), dtype=np.int32)
        moved = shapely.transform(shapes[left], lambda xy: (xy - (0, top)) * (1, sign))
        width = _safe_width(moved, right) if self.all_touched else right
        burnt: npt.NDArray[np.int32] = rasterize(
            zip(moved, (self.places[found[left]] + 1).tolist(), strict=True), out_shape=(bottom - top, width),
            transform=Affine.scale(1, sign), all_touched=self.all_touched, dtype="int32")
        return burnt[window.row - top:, window.col:right]


def _pixels(transform: Affine, xy: AnyArray) -> AnyArray:
    """Columns and rows of coordinates, N2, by GDAL's own arithmetic where rows run along a parallel."""
    if transform.b == 0 and transform.d == 0:
        return np.stack([-transform.c / transform.a + xy[:, 0] * (1 / transform.a),
                         -transform.f / transform.e + xy[:, 1] * (1 / transform.e)], axis=1)
    inverse = ~transform
    return np.stack([inverse.a * xy[:, 0] + inverse.b * xy[:, 1] + inverse.c,
                     inverse.d * xy[:, 0] + inverse.e * xy[:, 1] + inverse.f], axis=1)


def _safe_width(shapes: AnyArray, right: int) -> int:
    """The least width from `right` on whose border no corner lies.

    With ALL_TOUCHED, GDAL may take an edge that leads off to the right from a corner on the border and above the
    raster for one that reaches its first row, and write past the row's end, even past the raster's.
    """
    columns = shapely.get_coordinates(shapes)[:, 0]
    whole = np.round(columns)
    taken = np.unique(whole[(whole >= right) & (np.abs(columns - whole) < _ON_BORDER)])
    return int(np.setdiff1d(right + np.arange(len(taken) + 1), taken)[0])


def _thinned(shapes: AnyArray, top: int, bottom: int, sign: int) -> AnyArray:
    """Large polygons without the corners that decide nothing about the rows from `top` to `bottom`.

    Args:
        shapes: in pixels (column, row).
        top: first row.
        bottom: row after the last.
        sign: GDAL burns them with rows times this.
    """
    large = (shapely.get_num_coordinates(shapes) > _MANY_CORNERS) & np.isin(shapely.get_type_id(shapes), _POLYGONAL)
    result: AnyArray = shapes.copy()
    for i in np.flatnonzero(large):
        parts = [_thin_polygon(part, top - 1, bottom + 1, sign) for part in shapely.get_parts(shapes[i])]
        result[i] = shapely.MultiPolygon([part for part in parts if part is not None])
    return result


def _thin_polygon(polygon: BaseGeometry, top: int, bottom: int, sign: int) -> BaseGeometry | None:
    """A stretch of corners above all rows (or below) becomes one edge there, which no row's centre line meets."""
    rings = []
    for ring in shapely.get_rings(polygon):
        xy = shapely.get_coordinates(ring)[:-1]
        side = (xy[:, 1] > bottom).astype(np.int8) - (xy[:, 1] < top)
        if side[0] != 0 and (side == side[0]).all():
            continue
        idle = (side != 0) & (side == np.roll(side, 1)) & (side == np.roll(side, -1))
        telling = _corners_of_sense(xy, sign)
        if len(telling) == 0:
            rings.append(ring)
            continue
        idle[telling] = False
        rings.append(shapely.linearrings(xy[~idle]))
    return shapely.Polygon(rings[0], rings[1:]) if rings else None


def _corners_of_sense(xy: AnyArray, sign: int) -> npt.NDArray[np.intp]:
    """The three corners by which GDAL tells a ring's sense of rotation; none where it takes the area under all.

    A centre on a horizontal edge belongs to the polygon below or above by that sense, so that a ring without those
    corners may be burnt otherwise. They are the lowest of all, of several the rightmost, and those beside it
    (OGRLineString::isClockwise).
    """
    lowest = np.flatnonzero(xy[:, 1] == (xy[:, 1] * sign).min() * sign)
    pivots = lowest[xy[lowest, 0] == xy[lowest, 0].max()]
    corners: npt.NDArray[np.intp] = (pivots[0] + np.arange(-1, 2)) % len(xy)
    before, after = xy[corners[0]] - xy[corners[1]], xy[corners[2]] - xy[corners[1]]
    too_near = min(np.abs(before).max(), np.abs(after).max()) < _SAME_PLACE
    unclear = len(pivots) > 1 or too_near or after[0] * before[1] == before[0] * after[1]
    return corners[:0] if unclear else corners
