"""Outlines of OpenStreetMap as labels: only areas, one class each, with the query that found them."""

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from tqdm import tqdm

from pipeline.digests import canonical_sha256
from pipeline.errors import LabelError
from pipeline.geo.grid import Grid
from pipeline.params.acquire_remote import OsmParams
from pipeline.sources.catalog import Asset
from pipeline.sources.osm.fetch import OsmClient

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

#: https://www.openstreetmap.org/copyright
LICENCE = "ODbL-1.0, (c) OpenStreetMap contributors"

ANY = "*"
IGNORE = "ignore"

#: Of Nominatim's answer, what does not change unless the place does.
_PLACE = ("osm_type", "osm_id", "geojson")

_AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")


def request_of_osm(params: OsmParams, grids: Mapping[str, Grid]) -> dict[str, object]:
    """What the folder of unfinished downloads is named by: whatever changes the questions."""
    bounds = {} if params.place else {name: [grid.crs_wkt, *grid.bounds] for name, grid in grids.items()}
    return {"osm": params.url, "nominatim": params.nominatim_url, "place": params.place, "footprints": bounds,
            "tags": {key: sorted(values) for key, values in params.tags.items()}}


def read_osm(params: OsmParams, grids: Mapping[str, Grid], coverage: str,
             folder: Path) -> tuple[gpd.GeoDataFrame, tuple[Asset, ...]]:
    """Polygons with the columns `class` and `source_id` (way/123) in EPSG:4326, and the questions with their answers.

    Polygons of a class that `priority` names first come last, so that they lie on top; else they are sorted by id.

    Args:
        params: tags, and where.
        grids: scene id -> grid; their footprint is asked for where params name no place.
        coverage: acquire.coverage.
        folder: where answers are kept; see `kept_downloads`.

    Raises:
        LabelError: a server does not answer, there is nothing of the kind there, or a feature has several classes of
            which `priority` names none.
    """
    client = OsmClient(params, folder)
    polygons = [client.place(params.place)] if params.place else footprint(grids)
    if params.place and coverage == "exhaustive" and not polygons[0].covers(shapely.union_all(footprint(grids))):
        warnings.warn(f"acquire.osm.place {params.place!r} does not cover the scenes: what of them lies outside of it "
                      "counts as background, as acquire.coverage is exhaustive", stacklevel=2)
    where = f"place {params.place!r}" if params.place else f"the footprint of scenes {sorted(grids)}"
    tags = {key: True if ANY in values else list(values) for key, values in params.tags.items()}
    parts = [client.features(p, tags) for p in tqdm(polygons, desc="OpenStreetMap", unit="area", disable=None)]
    frames = [part[[c for c in part.columns if c in params.tags or c == "geometry"]] for part in parts
              if part is not None]
    if not frames:
        raise LabelError(f"acquire.osm.tags must find outlines within {where}: {params.url} has none with "
                         f"{_spelled(params)}; check the tags and the place")
    frame = pd.concat(frames).sort_index()
    frame = frame[~frame.index.duplicated()]
    areas = frame[frame.geom_type.isin(_AREAS)]
    _report(frame, areas, where)
    labels = _labels(areas, params)
    if set(labels["class"]) == {IGNORE}:
        raise LabelError(f"acquire.osm.tags must find outlines of a class within {where}: all {len(labels)} are mapped "
                         f"to {IGNORE!r}; add tags, or choose another place")
    return labels, tuple(_asset(note) for note in client.noted())


def footprint(grids: Mapping[str, Grid]) -> list["BaseGeometry"]:
    """What the scenes cover, in degrees: one polygon for each group of scenes that touch.

    Each is asked for by itself, because osmnx asks for the convex hull of several.
    """
    outlines = []
    for grid in grids.values():
        edge = shapely.segmentize(shapely.box(*grid.bounds), max(grid.pixel_size) * max(grid.shape) / 16)
        outlines.append(gpd.GeoSeries([edge], crs=grid.crs).to_crs("EPSG:4326").iloc[0])
    union = shapely.union_all(outlines)
    return list(shapely.get_parts(union))


def classes_of(tags: Mapping[str, Any], params: OsmParams) -> list[str]:
    """The classes that a feature's tags lead to, each once, those that `priority` names first leading."""
    found: list[str] = []
    for key, values in params.tags.items():
        value = tags.get(key)
        if isinstance(value, str):
            for one in dict.fromkeys(v.strip() for v in value.split(";")):  # several values of one key
                name = values.get(one, values.get(ANY, ""))
                found += [name] * bool(name)
    order = {name: i for i, name in enumerate(params.priority)}
    return sorted(dict.fromkeys(found), key=lambda name: (order.get(name, len(order)), name))


def _labels(areas: gpd.GeoDataFrame, params: OsmParams) -> gpd.GeoDataFrame:
    keys = [key for key in params.tags if key in areas.columns]
    candidates = [classes_of(dict(zip(keys, row, strict=True)), params)
                  for row in areas[keys].itertuples(index=False, name=None)]
    ids = [f"{element}/{number}" for element, number in areas.index]
    torn = [(i, c) for i, c in zip(ids, candidates, strict=True) if len(c) > 1 and c[0] not in params.priority]
    if torn:
        raise LabelError(f"each outline of OpenStreetMap must have one class: {torn[0][0]} has tags of {torn[0][1]}, "
                         f"as {len(torn)} outline(s) do; name the class that wins in acquire.osm.priority")
    names = np.array([c[0] for c in candidates], dtype=object)
    order = {name: len(params.priority) - i for i, name in enumerate(params.priority)}
    place = np.argsort([order.get(name, 0) for name in names], kind="stable")
    geometry = shapely.force_2d(areas.geometry.to_numpy())[place]
    return gpd.GeoDataFrame({"class": names[place], "source_id": np.array(ids, dtype=object)[place]},
                            geometry=geometry, crs="EPSG:4326")


def _report(frame: gpd.GeoDataFrame, areas: gpd.GeoDataFrame, where: str) -> None:
    """Count what is no area.

    Raises:
        LabelError: nothing is.
    """
    others = Counter(str(kind) for kind in frame.geom_type if kind not in _AREAS)
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(others.items()))
    if areas.empty:
        raise LabelError(f"acquire.osm.tags must find outlines within {where}: got only {counted}, which cover no "
                         "ground; choose tags of areas")
    if others:
        warnings.warn(f"OpenStreetMap: {counted} left out of {len(frame)} features, because a label covers ground",
                      stacklevel=2)


def _spelled(params: OsmParams) -> str:
    return ", ".join(f"{key}={'|'.join(sorted(values))}" for key, values in params.tags.items())


def _asset(note: dict[str, Any]) -> Asset:
    """A question with the digest of what its answer says of places or elements.

    The date of the data base is no part of the record: it moves on each minute, and data/raw would differ, and every
    stage rerun, for answers that are the same. Nor are a place's rank and number of the day.
    """
    answer = note["answer"]
    if isinstance(answer, list):
        role, said = "place", [{key: place.get(key) for key in _PLACE} for place in answer]
    else:
        role, said = "labels", sorted(answer["elements"], key=lambda e: (str(e.get("type")), int(e.get("id", 0))))
    return Asset("nominatim" if role == "place" else "overpass", role, note["endpoint"], canonical_sha256(said),
                 licence=LICENCE, note=note["query"])
