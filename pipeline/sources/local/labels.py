"""Read the user's vector labels: polygons with a class each, in the CRS they came in."""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import shapely

from pipeline.errors import LabelError
from pipeline.geo.vector_io import read_vectors
from pipeline.params.acquire import LocalLabels, LocalReference
from pipeline.sources.local.crosswalk import check_mapped, count_keys, value_key
from pipeline.sources.local.location import settle_crs

_POLYGONAL = ("Polygon", "MultiPolygon", "GeometryCollection")


def read_polygons(given: LocalLabels | LocalReference, root: Path, setting: str) -> gpd.GeoDataFrame:
    """Polygons with the columns `class` (a task class or "ignore") and `source_id`, in the file's order.

    Args:
        given: the parameters of the file.
        root: what a relative path starts from.
        setting: where those parameters stand, for messages.

    Raises:
        LabelError: unreadable, empty, no CRS, no such column, a value nobody mapped, or no polygons.
    """
    subject = f"{setting.rsplit('.', 1)[-1]} {given.path}"
    frame = read_vectors(root / given.path, given.layer)
    if frame.empty:
        raise LabelError(f"{subject} must hold at least one feature: got an empty file; check {setting}.path and layer")
    if not isinstance(frame, gpd.GeoDataFrame):
        raise LabelError(f"{subject} must hold geometries: got a table without any; check {setting}.path and layer")
    crs = settle_crs(frame.crs, given.crs, subject, f"{setting}.crs", LabelError)
    classes = _classes(frame, given.class_column, given.classes, subject, setting)
    _check_polygonal(frame, subject)
    geometry = shapely.force_2d(frame.geometry.to_numpy())
    ids = [f"{Path(given.path).stem}-{i:05d}" for i in range(len(frame))]
    return gpd.GeoDataFrame({"class": classes, "source_id": ids}, geometry=geometry, crs=crs)


def _classes(frame: gpd.GeoDataFrame, column: str, mapping: Mapping[str, str], subject: str, setting: str) -> list[str]:
    columns = [c for c in frame.columns if c != frame.geometry.name]
    if column not in columns:
        raise LabelError(f"{subject} must have the column {column!r} with the class: its columns are {columns}; "
                         f"set {setting}.class_column")
    keys = [value_key(v) for v in frame[column].astype(object)]
    check_mapped(count_keys(keys), mapping, f"{subject}, column {column!r}", f"{setting}.classes")
    return [mapping[k] for k in keys]


def _check_polygonal(frame: gpd.GeoDataFrame, subject: str) -> None:
    kinds = count_keys(str(kind) for kind in frame.geom_type[~(frame.geometry.isna() | frame.geometry.is_empty)])
    if wrong := {kind: n for kind, n in kinds.items() if kind not in _POLYGONAL}:
        listed = ", ".join(f"{n} of type {kind}" for kind, n in sorted(wrong.items()))
        raise LabelError(f"{subject} must hold polygons, because a label covers ground: got {listed}; draw polygons, "
                         "or buffer these to the ground they stand for")
    if not kinds:
        raise LabelError(f"{subject} must hold polygons: all {len(frame)} geometries are missing; check the file")
