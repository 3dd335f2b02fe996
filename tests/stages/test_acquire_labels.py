"""Acquire: labels as points, rasters and GeoParquet, and which of them lies on top."""

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from pyproj import CRS, Geod
from shapely.geometry import GeometryCollection, LineString, MultiPoint, Point, box

from pipeline.errors import LabelError, ParamsError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import geodesic_area_m2, read_vectors
from pipeline.sources.local.labels import by_priority
from stages import acquire
from tests.stages.conftest import UTM, squares

Make = Callable[[], Any]
#: Three squares in a row, each overlapping the next.
OVERLAPPING = squares((1, (2, 2, 10, 10)), (2, (6, 2, 14, 10)), (1, (12, 2, 20, 10)), (2, (1, 1, 3, 3)))


def labels_of(project: Any, coverage: str = "sparse", **labels: Any) -> gpd.GeoDataFrame:
    acquire.run(project.params(coverage, labels=labels), project.paths)
    return read_vectors(project.paths.raw / "labels.gpkg", "labels")


def points(*places: tuple[float, float], crs: str = "EPSG:32748") -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"kind": [float(1 + i % 2) for i in range(len(places))]},
                            geometry=[Point(p) for p in places], crs=crs)


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.shp", "labels.geojson"])
@pytest.mark.parametrize("crs", ["EPSG:32748", "EPSG:4326", "EPSG:3395"])
def test_points_become_circles_of_true_radius(local_project: Make, name: str, crs: str) -> None:
    project = local_project()
    project.write_labels(points((700050, 9309900), (700150, 9309850)).to_crs(crs), name)
    frame = labels_of(project, radius_m=25)
    assert frame["class"].tolist() == ["town", "water"]
    assert geodesic_area_m2(frame.geometry) == pytest.approx(np.pi * 25**2, rel=2e-3)
    centres = points((700050, 9309900), (700150, 9309850)).to_crs(4326).geometry
    for shape, middle in zip(frame.to_crs(4326).geometry, centres, strict=True):
        lon, lat = np.array(shape.exterior.coords).T
        _, _, reach = Geod(ellps="WGS84").inv(np.full(len(lon), middle.x), np.full(len(lat), middle.y), lon, lat)
        assert reach == pytest.approx(np.full(len(reach), 25), abs=0.01)


def test_multipoints_and_polygons_may_come_together(local_project: Make) -> None:
    project = local_project()
    both = gpd.GeoDataFrame({"kind": [1, 2, 1]}, crs="EPSG:32748", geometry=[
        MultiPoint([(700050, 9309900), (700060, 9309900), (700150, 9309900)]),
        box(700020, 9309800, 700100, 9309850), None])
    project.write_labels(both, "labels.gpkg", geometry_type="Unknown")
    with pytest.warns(UserWarning, match="1 of 3 features have no geometry and label nothing"):
        frame = labels_of(project, radius_m=10)
    assert frame.geometry[1].equals(both.geometry[1])
    assert frame.geometry[2] is None
    overlapping = 2 * 10**2 * np.arccos(0.5) - 0.5 * 10 * np.sqrt(4 * 10**2 - 10**2)  # of the first two circles
    assert geodesic_area_m2(frame.geometry[:1]) == pytest.approx(3 * np.pi * 100 - overlapping, rel=5e-3)


def test_points_need_a_radius_and_lines_never_fit(local_project: Make) -> None:
    project = local_project()
    project.write_labels(points((700050, 9309900), (700070, 9309900)), "labels.gpkg")
    with pytest.raises(LabelError, match=r"got 2 of type Point; draw polygons, or set acquire.local.labels.radius_m"):
        labels_of(project)
    line = gpd.GeoDataFrame({"kind": [1]}, geometry=[LineString([(700050, 9309900), (700090, 9309900)])], crs=32748)
    project.write_labels(line, "labels.gpkg")
    with pytest.raises(LabelError, match="got 1 of type LineString; draw polygons, or buffer these"):
        labels_of(project, radius_m=10, classes={"1": "town"})


def test_collections_are_what_their_parts_are(local_project: Make) -> None:
    project = local_project()
    dots = GeometryCollection([Point(700050, 9309900), Point(700070, 9309900)])
    square = box(700020, 9309800, 700100, 9309850)
    for inner in (dots, GeometryCollection([dots])):
        both = gpd.GeoDataFrame({"kind": [1, 2]}, geometry=[inner, square], crs=32748)
        project.write_labels(both, "labels.gpkg", geometry_type="Unknown")
        with pytest.raises(LabelError, match=r"got 1 of type GeometryCollection of .*; draw polygons, or buffer these"):
            labels_of(project, radius_m=10)
    mixed = gpd.GeoDataFrame({"kind": [1, 2]}, geometry=[GeometryCollection([dots, square]), square], crs=32748)
    project.write_labels(mixed, "labels.gpkg", geometry_type="Unknown")
    assert len(labels_of(project)) == 2


def test_missing_values_of_geoparquet(local_project: Make) -> None:
    project = local_project()
    frame = OVERLAPPING.assign(kind=pd.array([1, 2, None, 2], dtype="Int64"))
    frame.to_parquet(project.root / "inputs/labels.parquet")
    with pytest.raises(LabelError, match=r"but '' \(1 times\) is not"):
        labels_of(project, path="inputs/labels.parquet")
    made = labels_of(project, path="inputs/labels.parquet", classes={"1": "town", "2": "water", "": "ignore"})
    assert made["class"].tolist() == ["town", "water", "ignore", "water"]


def test_settings_without_effect_warn(local_project: Make) -> None:
    project = local_project()
    with pytest.warns(UserWarning, match="labels.radius_m has no effect: .* holds no points"):
        labels_of(project, radius_m=10)
    write_classes(project, np.ones((24, 24), np.uint8))
    given = {"path": "inputs/classes.tif", "classes": {"1": "town"}}
    column = {"class_column": "class"}
    for field, value in (("priority", ["town"]), ("radius_m", 5), ("class_column", "kind")):
        with pytest.warns(UserWarning, match=rf"labels.{field} has no effect: labels inputs/classes.tif is a raster"):
            labels_of(project, **given, **{**column, field: value})
        project.write_labels(squares((1, (2, 2, 10, 10)), (2, (12, 2, 20, 10))))
        with pytest.warns(UserWarning, match=rf"reference.{field} has no effect: reference inputs/classes.tif is a"):
            acquire.run(project.params(reference={**given, **column, field: value}), project.paths)


@pytest.mark.parametrize(("priority", "expected"), [
    ([], ["00000", "00001", "00002", "00003"]),
    (["town"], ["00001", "00003", "00000", "00002"]),
    (["town", "water"], ["00001", "00003", "00000", "00002"]),
    (["water", "town"], ["00000", "00002", "00001", "00003"]),
    (["water", "ground"], ["00000", "00002", "00001", "00003"])])
def test_the_class_named_first_lies_on_top(local_project: Make, priority: list[str], expected: list[str]) -> None:
    project = local_project()
    project.write_labels(OVERLAPPING, "labels.gpkg")
    mapped = {"1": "ground" if "ground" in priority else "town", "2": "water"}
    frame = labels_of(project, priority=priority, classes=mapped)
    assert [i.removeprefix("labels-") for i in frame["source_id"]] == expected


def test_priority_keeps_the_order_within_a_class() -> None:
    frame = squares(*(((i * 7) % 3, (0, 0, 1, 1)) for i in range(500)), column="class").assign(place=range(500))
    frame["class"] = frame["class"].map({0: "a", 1: "b", 2: "c"})
    ordered = by_priority(frame, ["b", "a"])
    assert list(dict.fromkeys(ordered["class"])) == ["c", "a", "b"]
    assert all(group["place"].is_monotonic_increasing for _, group in ordered.groupby("class"))


@pytest.mark.parametrize(("priority", "message"), [
    (["town", "town"], r"priority must name each class once: \['town'\]"),
    (["city"], r"acquire.local.labels.priority\[0\] must name a class"),
    (["town", "vegetation"], r"labels.priority must name classes that .*classes leads to, \['town', 'water'\]: got "
                             r"\['vegetation'\]"),
    (["ignore"], r"got \['ignore'\]; remove them")])
def test_priorities_that_are_refused(local_project: Make, priority: list[str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        local_project().params(labels={"priority": priority})


def test_geoparquet(local_project: Make) -> None:
    project = local_project()
    OVERLAPPING.to_parquet(project.root / "inputs/labels.parquet")
    frame = labels_of(project, path="inputs/labels.parquet")
    assert len(frame) == 4
    assert frame.crs == UTM.crs
    with pytest.raises(LabelError, match="must be named without a layer"):
        labels_of(project, path="inputs/labels.parquet", layer="a")
    OVERLAPPING.drop(columns="geometry").to_parquet(project.root / "inputs/labels.parquet")
    with pytest.raises(LabelError, match=r"must be readable as GeoParquet: .*geo metadata") as caught:
        labels_of(project, path="inputs/labels.parquet")
    assert "\n" not in str(caught.value)
    (project.root / "inputs/labels.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(LabelError, match="must be readable as GeoParquet"):
        labels_of(project, path="inputs/labels.parquet")


def write_classes(project: Any, values: np.ndarray, nodata: float | None = None, grid: Grid = UTM) -> None:
    raster_io.write(project.root / "inputs/classes.tif", values, grid, ["class"] * max(1, values.ndim and 1), nodata)


def test_a_raster_of_classes_is_traced(local_project: Make) -> None:
    project = local_project()
    values = np.zeros((24, 24), np.float32)
    values[2:10, 2:10], values[10:12, 10:12], values[20:, 20:], values[0, :] = 1, 1, 2, 3
    write_classes(project, values, nodata=0)
    given = {"path": "inputs/classes.tif", "class_column": "class",
             "classes": {"1": "town", "2": "water", "3": "ignore"}}
    frame = labels_of(project, **given)
    assert frame["class"].tolist() == ["ignore", "town", "town", "water"], "from the top; a corner joins nothing"
    assert frame["source_id"].tolist() == [f"classes-{i:05d}" for i in range(4)]
    assert frame.geometry.area.tolist() == [2400, 6400, 400, 1600]
    assert frame.geometry[3].equals(box(700200, 9309760, 700240, 9309800))
    frame = labels_of(project, "exhaustive", **given)
    unknown = frame[frame["class"] == "ignore"].geometry.area.sum()
    assert unknown == 100 * (24 * 24 - 64 - 4 - 16), "unmapped nodata is no background"
    frame = labels_of(project, **{**given, "classes": {"0": "ground", **given["classes"]}})
    assert frame[frame["class"] == "ground"].geometry.area.sum() == unknown - 2400, "nodata may be mapped too"


@pytest.mark.parametrize(("values", "grid", "message"), [
    (np.full((24, 24), 7, np.uint8), UTM, r"labels inputs/classes.tif: every value must be mapped .*'7' \(576 times\)"),
    (np.ones((24, 24, 2), np.uint8), UTM, "must have one band of class values: got 2"),
    (np.ones((24, 24), np.uint8), Grid("", UTM.transform, 24, 24), "must have a CRS: the file has none"),
    (np.ones((24, 24), np.uint8), Grid(UTM.crs_wkt, Affine(10, 0, 100000, 0, -10, 9310000), 24, 24),
     "labels inputs/classes.tif must overlap a scene"),
    (np.arange(576, dtype=np.uint16).reshape(24, 24), UTM, "and 554 more are not"),
])
def test_label_rasters_that_are_refused(local_project: Make, values: np.ndarray, grid: Grid, message: str) -> None:
    project = local_project()
    bands = ["class"] * (values.shape[2] if values.ndim == 3 else 1)
    raster_io.write(project.root / "inputs/classes.tif", values, grid, bands, 0)
    with pytest.raises(LabelError, match=message) as caught:
        labels_of(project, path="inputs/classes.tif", classes={"1": "town"})
    assert "\n" not in str(caught.value)
    assert not project.paths.raw.exists()


def test_a_label_raster_of_nodata_only(local_project: Make) -> None:
    project = local_project()
    write_classes(project, np.zeros((24, 24), np.uint8), nodata=0)
    with (pytest.warns(UserWarning, match="do not occur"),
          pytest.raises(LabelError, match="must hold labels where the scenes are: all pixels there are nodata")):
        labels_of(project, path="inputs/classes.tif", classes={"1": "town"}, class_column="class")


def test_labels_in_the_wrong_units(local_project: Make) -> None:
    project = local_project()
    degrees = points((106.8, -6.2), (106.8, -6.2)).set_crs("EPSG:32748", allow_override=True)
    project.write_labels(degrees, "labels.gpkg")
    with pytest.raises(LabelError, match=r"must have coordinates in metres, as EPSG:32748 says: .* look like degrees"):
        labels_of(project, radius_m=10)
    metres = points((700050, 9309900), (700070, 9309900)).set_crs("EPSG:4326", allow_override=True)
    project.write_labels(metres, "labels.gpkg")
    with pytest.raises(LabelError, match=r"must have coordinates in degrees, as EPSG:4326 says: .* look like metres"):
        labels_of(project, radius_m=10)


def test_reference_points(local_project: Make) -> None:
    project = local_project()
    points((700050, 9309900)).to_file(project.root / "inputs/truth.gpkg")
    reference = {"path": "inputs/truth.gpkg", "class_column": "kind", "classes": {"1": "town"}, "radius_m": 12}
    acquire.run(project.params(reference=reference), project.paths)
    truth = read_vectors(project.paths.raw / "reference/truth.gpkg", "truth")
    assert geodesic_area_m2(truth.geometry) == pytest.approx(np.pi * 144, rel=2e-3)


@pytest.mark.parametrize("name", ["truth.tif", "truth.gpkg"])
def test_a_reference_of_nothing_but_ignore(local_project: Make, name: str) -> None:
    project = local_project()
    if name == "truth.tif":
        raster_io.write(project.root / "inputs/truth.tif", np.tile(np.arange(24, dtype=np.uint8) % 2, (24, 1)), UTM,
                        ["c"], 0)
    else:
        squares((1, (2, 2, 10, 10)), column="class").to_file(project.root / "inputs/truth.gpkg")
    with pytest.raises(LabelError, match=f"reference inputs/{name} must hold a class: everything in it is 'ignore'"):
        acquire.run(project.params(reference={"path": f"inputs/{name}", "classes": {"1": "ignore"}}), project.paths)
    assert not project.paths.raw.exists()


def test_labels_across_the_180th_meridian(local_project: Make) -> None:
    project = local_project()
    fiji = CRS.from_epsg(32701)
    grid = Grid(fiji.to_wkt(), Affine(10, 0, 177000, 0, -10, 8115000), 24, 24)
    project.write_scene(grid=grid)
    centre = gpd.GeoSeries([Point(177120, 8114880)], crs=fiji).to_crs(4326).iloc[0]
    near = points((180 - 1e-5, centre.y), crs="EPSG:4326")
    project.write_labels(near, "labels.gpkg")
    from pipeline.sources.local.circles import circles

    ring = circles(near.geometry, 50)[0]
    assert ring.bounds[0] < 180 < ring.bounds[2]
    assert ring.bounds[2] - ring.bounds[0] < 0.01, "in one piece"
