"""Polygons with their class and source as plain columns, and operations that must end as polygons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.types import AnyArray, BoolArray

_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class Polygons:
    """Polygons of one scene in its CRS; the columns have one entry for each, in order.

    Attributes:
        classes: class names.
        source_ids: what they came from.
        shapes: shapely polygons and multipolygons.
        area_m2: square metres on the ellipsoid, float64.
    """

    classes: AnyArray
    source_ids: AnyArray
    shapes: AnyArray
    area_m2: AnyArray

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, where: AnyArray) -> "Polygons":
        """Those at a mask or at indices."""
        return Polygons(self.classes[where], self.source_ids[where], self.shapes[where], self.area_m2[where])

    def reshaped(self, shapes: AnyArray, area_m2: AnyArray) -> "Polygons":
        """The same with other shapes."""
        return replace(self, shapes=shapes, area_m2=area_m2)

    @classmethod
    def of(cls, frame: gpd.GeoDataFrame, area_m2: AnyArray) -> "Polygons":
        """A frame with the columns class, source_id and geometry."""
        return cls(frame["class"].to_numpy(dtype=object), frame["source_id"].to_numpy(dtype=object),
                   frame.geometry.to_numpy(), area_m2)

    @classmethod
    def joined(cls, parts: Sequence["Polygons"]) -> "Polygons":
        """One after another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts])
                     for name in ("classes", "source_ids", "shapes", "area_m2")))

    def frame(self, crs: Any, **columns: Any) -> gpd.GeoDataFrame:
        """A frame with class, further columns, source_id and geometry."""
        table = {"class": self.classes, **columns, "source_id": self.source_ids}
        return gpd.GeoDataFrame(table, geometry=gpd.GeoSeries(self.shapes, crs=crs))


def only_polygons(geometry: AnyArray) -> AnyArray:
    """Valid polygons and multipolygons without lines and points (an empty polygon if all were)."""
    return repair(polygonal(geometry))


def polygonal(geometry: AnyArray) -> AnyArray:
    """What an overlay of polygons left, without the lines and points (an empty polygon if all were)."""
    result = np.array(geometry, dtype=object)
    for i in np.flatnonzero(~np.isin(shapely.get_type_id(result), _POLYGONAL)):
        parts = shapely.get_parts(shapely.get_parts(result[i]))
        result[i] = shapely.union_all(parts[np.isin(shapely.get_type_id(parts), _POLYGONAL)])
        if shapely.is_empty(result[i]):
            result[i] = shapely.Polygon()
    return result


def repair(geometry: AnyArray) -> AnyArray:
    """Invalid polygons made valid by their rings' structure; valid ones as they are."""
    result = np.array(geometry, dtype=object)
    broken = ~shapely.is_valid(result)
    result[broken] = shapely.make_valid(result[broken], method="structure", keep_collapsed=False)
    return result


def shares_ground(one: AnyArray, i: AnyArray, other: AnyArray, j: AnyArray) -> BoolArray:
    """Whether the interiors of one[i] and other[j] meet: neighbours with a common edge do not.

    The polygon with more corners is prepared, so that it is not looked through for each of its small neighbours.
    """
    corners, others = shapely.get_num_coordinates(one), shapely.get_num_coordinates(other)
    meet = np.zeros(len(i), dtype=np.bool_)
    larger = corners[i] >= others[j]
    for chosen, first, a, second, b in ((larger, one, i, other, j), (~larger, other, j, one, i)):
        shapely.prepare(first[np.unique(a[chosen])])
        touch = np.flatnonzero(chosen)[shapely.intersects(first[a[chosen]], second[b[chosen]])]
        meet[touch] = shapely.relate_pattern(first[a[touch]], second[b[touch]], "T********")
    return meet


def union_within(geometry: AnyArray, frame: BaseGeometry) -> BaseGeometry:
    """The union of geometries, cut to the bounding box of `frame` first, which keeps overlays of vast polygons fast."""
    box = shapely.box(*shapely.bounds(frame))
    reaching = ~shapely.covered_by(geometry, box)
    near = np.array(geometry, dtype=object)
    near[reaching] = shapely.intersection(near[reaching], box)
    return near[0] if len(near) == 1 else shapely.union_all(near)


def union_by(geometry: AnyArray, group: AnyArray, count: int) -> AnyArray:
    """The union of each group's polygons (groups count from 0, `count` of them; an empty polygon for one without)."""
    result = np.full(count, shapely.Polygon(), dtype=object)
    order = np.argsort(group, kind="stable")
    members, starts, sizes = np.unique(group[order], return_index=True, return_counts=True)
    result[members] = geometry[order[starts]]
    for member, start, size in zip(members[sizes > 1], starts[sizes > 1], sizes[sizes > 1], strict=True):
        result[member] = shapely.union_all(geometry[order[start : start + size]])
    return result
