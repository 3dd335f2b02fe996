"""Repairs and unions of polygons, by hand."""

import numpy as np
import shapely
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from pipeline.labels.polygons import only_polygons, repair, shares_ground, union_by, union_within


def array(*shapes: object) -> np.ndarray:
    result = np.empty(len(shapes), dtype=object)
    result[:] = shapes
    return result


def test_lines_and_points_are_taken_out() -> None:
    mixed = GeometryCollection([box(0, 0, 1, 1), LineString([(0, 0), (5, 5)]), MultiPolygon([box(2, 2, 3, 3)])])
    kept, line, empty = only_polygons(array(mixed, Point(0, 0), GeometryCollection()))
    assert kept.area == 2
    assert kept.geom_type == "MultiPolygon"
    assert line.is_empty
    assert empty.is_empty


def test_both_wings_of_a_bow_tie_stay() -> None:
    mended, untouched = repair(array(Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), box(0, 0, 1, 1)))
    assert mended.is_valid
    assert mended.area == 2
    assert untouched.equals_exact(box(0, 0, 1, 1), 0)


def test_union_within_is_exact_inside_the_frame() -> None:
    vast, frame = array(box(-1000, 0, 1000, 1), box(0, -1000, 1, 1000)), box(0, 0, 10, 10)
    union = union_within(vast, frame)
    assert shapely.intersection(union, frame).area == 10 + 10 - 1
    assert union.area < 100


def test_union_by_group_leaves_no_seams_and_knows_empty_groups() -> None:
    pieces = array(box(0, 0, 1, 1), box(5, 0, 6, 1), box(1, 0, 2, 1))
    first, none, last = union_by(pieces, np.array([2, 0, 2]), 3)
    assert first.equals_exact(box(5, 0, 6, 1), 0)
    assert none.is_empty
    assert last.equals(box(0, 0, 2, 1))
    assert last.geom_type == "Polygon"


def test_neighbours_share_no_ground_whichever_is_larger() -> None:
    round_one = Point(0, 0).buffer(1)
    one = array(box(0, 0, 2, 2), round_one)
    other = array(box(2, 0, 3, 2), box(1, 1, 4, 4), Point(1.5, 1.5).buffer(0.1), box(2, 2, 3, 3), box(9, 9, 10, 10))
    i, j = (a.ravel() for a in np.indices((2, 5)))
    shared = shapely.area(shapely.intersection(one[i], other[j])) > 0
    assert shares_ground(one, i, other, j).tolist() == shared.tolist()
    assert shared.sum() == 2
