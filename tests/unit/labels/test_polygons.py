import numpy as np
import shapely
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from pipeline.labels.polygons import only_polygons, repair, union_within


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
