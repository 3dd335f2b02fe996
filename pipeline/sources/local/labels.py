"""Read the user's labels: polygons, points with a radius or a raster of classes, in the CRS they came in."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry import GeometryCollection
from shapely.geometry.base import BaseGeometry

from pipeline.errors import LabelError
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import read_vectors
from pipeline.params.acquire_local import LocalLabels, VectorParams
from pipeline.sources.local.circles import circles
from pipeline.sources.local.crosswalk import IGNORE, check_mapped, count_keys, value_key
from pipeline.sources.local.label_raster import read_grid, trace_labels
from pipeline.sources.local.location import check_overlap, check_plausible, settle_crs
from pipeline.sources.local.opening import RASTERS

_SETTING = "acquire.local.labels"
_POLYGONAL = ("Polygon", "MultiPolygon", "GeometryCollection")
_POINTS = ("Point", "MultiPoint")


def read_labels(given: LocalLabels, root: Path, grids: Mapping[str, Grid], coverage: str) -> gpd.GeoDataFrame:
    """The labels of acquire.local as polygons: columns `class` (a task class or "ignore"), `source_id` and geometry.

    Where polygons overlap, the later row lies on top: the file's order, or by `priority`. Polygons of a raster do not
    overlap and are those that lie near the scenes; its nodata is unlabelled, or "ignore" where `coverage` is exhaustive
    and unlabelled would mean background.

    Raises:
        LabelError: the file cannot be used, all its values are mapped to "ignore", or it lies off all scenes.
        SceneError: a raster cannot be opened.
    """
    if is_raster(given.path):
        path, subject = root / given.path, f"labels {given.path}"
        grid = read_grid(given, path, subject, _SETTING)
        check_overlap(outline(grid), grids, subject, f"{_SETTING}.crs")
        warn_of_vector_settings(given, subject, _SETTING)
        frame = trace_labels(given, path, grid, grids, IGNORE if coverage == "exhaustive" else "")
        frame["source_id"] = source_ids(given.path, len(frame))
        frame = frame[["class", "source_id", "geometry"]]
        if frame.empty:
            raise LabelError(f"{subject} must hold labels where the scenes are: all pixels there are nodata; "
                             "use labels of that place")
    else:
        frame = read_polygons(given, root, _SETTING)
    if set(frame["class"]) == {IGNORE}:
        raise LabelError(f"labels {given.path} must hold a class: all values are mapped to {IGNORE!r}; "
                         f"correct {_SETTING}.classes")
    return frame


def warn_of_vector_settings(given: VectorParams, subject: str, setting: str) -> None:
    """Name the parameters that say nothing about a raster."""
    for field in ("layer", "radius_m", "priority", "class_column"):
        if getattr(given, field) != VectorParams.model_fields[field].default:
            warnings.warn(f"{setting}.{field} has no effect: {subject} is a raster", stacklevel=3)


def is_raster(path: str) -> bool:
    """Whether a file of labels is a raster, by its suffix."""
    return Path(path).suffix.lower() in RASTERS


def outline(grid: Grid) -> gpd.GeoDataFrame:
    """A raster's bounding box as a frame of one polygon."""
    return gpd.GeoDataFrame(geometry=[shapely.box(*grid.bounds)], crs=grid.crs)


def source_ids(path: str, count: int) -> list[str]:
    """A name for each feature of a file: its stem and its place."""
    return [f"{Path(path).stem}-{i:05d}" for i in range(count)]


def read_polygons(given: VectorParams, root: Path, setting: str) -> gpd.GeoDataFrame:
    """Polygons with the columns `class` (a task class or "ignore") and `source_id`; later ones lie on top.

    Args:
        given: the parameters of the file.
        root: what a relative path starts from.
        setting: where those parameters stand, for messages.

    Raises:
        LabelError: unreadable, empty, no CRS, no such column, a value nobody mapped, lines, or points and no radius.
    """
    subject = f"{setting.rsplit('.', 1)[-1]} {given.path}"
    frame = read_vectors(root / given.path, given.layer)
    if frame.empty:
        raise LabelError(f"{subject} must hold at least one feature: got an empty file; check {setting}.path and layer")
    if not isinstance(frame, gpd.GeoDataFrame):
        raise LabelError(f"{subject} must hold geometries: got a table without any; check {setting}.path and layer")
    crs = settle_crs(frame.crs, given.crs, subject, f"{setting}.crs", LabelError)
    frame = frame.set_crs(crs, allow_override=True)
    classes = _classes(frame, given.class_column, given.classes, subject, setting)
    check_plausible(frame.total_bounds, crs, subject, f"{setting}.crs", LabelError)
    geometry = _ground(frame, given.radius_m, subject, setting)
    polygons = gpd.GeoDataFrame({"class": classes, "source_id": source_ids(given.path, len(frame))}, geometry=geometry,
                                crs=crs)
    return by_priority(polygons, given.priority)


def by_priority(frame: gpd.GeoDataFrame, priority: Sequence[str]) -> gpd.GeoDataFrame:
    """Rows ordered so that a class named earlier comes later, and so lies on top; classes not named come first.

    Within a class the order stays.
    """
    if not priority:
        return frame
    rank = {name: len(priority) - i for i, name in enumerate(priority)}
    order = np.argsort([rank.get(name, 0) for name in frame["class"]], kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def _classes(frame: gpd.GeoDataFrame, column: str, mapping: Mapping[str, str], subject: str, setting: str) -> list[str]:
    columns = [c for c in frame.columns if c != frame.geometry.name]
    if column not in columns:
        raise LabelError(f"{subject} must have the column {column!r} with the class: its columns are {columns}; "
                         f"set {setting}.class_column")
    keys = [value_key(v) for v in frame[column].astype(object)]
    check_mapped(count_keys(keys), mapping, f"{subject}, column {column!r}", f"{setting}.classes")
    return [mapping[k] for k in keys]


def _kind(shape: BaseGeometry) -> str:
    """A geometry's type; of a collection without polygons, that of its first part."""
    if isinstance(shape, GeometryCollection):
        kinds = [_kind(part) for part in shape.geoms if not part.is_empty]
        return "GeometryCollection" if any(k in _POLYGONAL for k in kinds) else f"GeometryCollection of {kinds[0]}"
    return str(shape.geom_type)


def _ground(frame: gpd.GeoDataFrame, radius_m: float, subject: str, setting: str) -> gpd.GeoSeries:
    """Polygons as they are, points as circles.

    Raises:
        LabelError: lines, points where no radius is given, or nothing at all.
    """
    shapes = frame.geometry
    there = ~(shapes.isna() | shapes.is_empty)
    kinds = count_keys(_kind(shape) for shape in shapes[there].to_numpy())
    if not kinds:
        raise LabelError(f"{subject} must hold polygons: all {len(frame)} geometries are missing; check the file")
    if not there.all():
        warnings.warn(f"{subject}: {int((~there).sum())} of {len(frame)} features have no geometry and label nothing",
                      stacklevel=2)
    points = {kind: n for kind, n in kinds.items() if kind in _POINTS}
    wrong = {kind: n for kind, n in kinds.items() if kind not in (*_POLYGONAL, *_POINTS)}
    if wrong or (points and not radius_m):
        listed = ", ".join(f"{n} of type {kind}" for kind, n in sorted((wrong or points).items()))
        remedy = "buffer these to the ground they stand for" if wrong else f"set {setting}.radius_m in metres"
        raise LabelError(f"{subject} must hold polygons, because a label covers ground: got {listed}; draw polygons, "
                         f"or {remedy}")
    ground = shapely.force_2d(shapes.to_numpy()).copy()
    if points:
        which = (there & shapes.geom_type.isin(_POINTS)).to_numpy()
        ground[which] = circles(shapes[which], radius_m)
    elif radius_m:
        warnings.warn(f"{setting}.radius_m has no effect: {subject} holds no points", stacklevel=2)
    return gpd.GeoSeries(ground, index=frame.index, crs=shapes.crs)
