"""Refine one scene's outlines by rules: carve derived ground out of them, add it where no outline lies.

A frame has the columns class, source_id, area_m2 and geometry, in the scene's CRS; its polygons are and stay disjoint.
"""

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from tqdm import tqdm

from pipeline.geo.raster_io import describe
from pipeline.geo.vector_io import geodesic_area_m2
from pipeline.labels.clean import clean, near_scene
from pipeline.labels.derive import index_mask, polygons_above, tiles_of
from pipeline.labels.ledger import Ledger, ScenePage
from pipeline.labels.polygons import union_within
from pipeline.params.refine_labels import IndexRule, RefineParams
from pipeline.types import AnyArray


def refine_scene(scene: Path, raw: gpd.GeoDataFrame, params: RefineParams, reflectance_scale: float,
                 ledger: Ledger) -> gpd.GeoDataFrame:
    """Refined labels of one scene in its CRS: class, confidence, source_id, scene, geometry; pairwise disjoint.

    Args:
        scene: the raw scene; its stem is its id.
        raw: outlines as acquired, with class and source_id.
        params: the rules.
        reflectance_scale: digital numbers / this = reflectance.
        ledger: where every change is booked.

    Raises:
        ParamsError: a rule's index does not exist.
        SceneError: the scene lacks a band of a rule's index.
    """
    grid, page = describe(scene).grid, ScenePage(ledger, scene.stem)
    outlines = clean(near_scene(raw, grid), grid, page)
    covered, derived = outlines.geometry.to_numpy(), []
    claimed = np.zeros(grid.shape, dtype=np.bool_)
    for rule in params.rules:
        mask = index_mask(scene, rule, reflectance_scale) & ~claimed
        ground, claim = polygons_above(mask, grid, rule.min_area_m2)
        claimed |= claim
        outlines, pieces = carve(outlines, rule, tiles_of(claim, grid), page)
        derived.append(pieces)
        if rule.add:
            derived.append(_outside(ground, covered, rule, page))
    small = (outlines["area_m2"] < params.min_polygon_m2).to_numpy()
    outlines = page.drop(outlines, small, f"smaller than {params.min_polygon_m2:g} m2")
    page.settle(outlines)
    return _labelled([outlines, *derived], params, scene.stem)


def carve(outlines: gpd.GeoDataFrame, rule: IndexRule, ground: AnyArray,
          page: ScenePage) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Cut derived ground out of the outlines of the rule's classes; returns the rests and the pieces, reclassed."""
    subject = outlines["class"].isin(rule.carve_from).to_numpy()
    tree = shapely.STRtree(ground)
    rests, pieces, hit = [], [], np.zeros(len(outlines), dtype=np.bool_)
    for i in np.flatnonzero(subject):
        shape = outlines.geometry.iloc[i]
        found = np.sort(tree.query(shape, predicate="intersects"))
        if len(found) == 0:
            continue
        cut = union_within(ground[found], shape)
        piece = shapely.intersection(shape, cut)
        if piece.area > 0:
            hit[i] = True
            rests.append(shapely.difference(shape, cut))
            pieces.append(piece)
    sources = outlines["source_id"].to_numpy()[hit]
    cut_out = gpd.GeoDataFrame({"class": [rule.becomes] * len(pieces),
                                "source_id": [f"{s}/{rule.index}:{rule.target}" for s in sources]},
                               geometry=gpd.GeoSeries(pieces, crs=outlines.crs))
    rest = page.amend(outlines, hit, np.array(rests, dtype=object), "carved", [_reason(rule)] * len(rests))
    return rest, page.add(cut_out, [f"carved out of {s}: {_reason(rule)}" for s in sources])


def _outside(ground: gpd.GeoSeries, covered: AnyArray, rule: IndexRule, page: ScenePage) -> gpd.GeoDataFrame:
    """Derived ground where no outline lies, as new polygons of the rule's class."""
    shapes, tree = ground.to_numpy().copy(), shapely.STRtree(covered)
    for i, shape in enumerate(shapes):
        found = np.sort(tree.query(shape, predicate="intersects"))
        if len(found):
            shapes[i] = shapely.difference(shape, union_within(covered[found], shape))
    frame = gpd.GeoDataFrame({"class": [rule.target] * len(shapes),
                              "source_id": [f"{rule.index}:{rule.target}-{i:05d}" for i in range(len(shapes))]},
                             geometry=gpd.GeoSeries(shapes, crs=ground.crs))
    return page.add(frame, [_reason(rule)] * len(frame))


def _reason(rule: IndexRule) -> str:
    return f"{rule.index} above {rule.above:g} is {rule.target}"


def _labelled(frames: list[gpd.GeoDataFrame], params: RefineParams, scene: str) -> gpd.GeoDataFrame:
    """Outlines first, derived ground after, with the confidence of each."""
    confidence = np.repeat([params.outline_confidence, params.derived_confidence],
                           [len(frames[0]), sum(len(f) for f in frames[1:])])
    joined = pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)
    return gpd.GeoDataFrame({"class": joined["class"], "confidence": confidence, "source_id": joined["source_id"],
                             "scene": scene}, geometry=joined.geometry, crs=frames[0].crs)


def refine_all(scenes: Sequence[Path], raw: gpd.GeoDataFrame, params: RefineParams,
               reflectance_scale: float) -> tuple[gpd.GeoDataFrame, Ledger]:
    """Refined labels of all scenes in one frame, and the ledger.

    The frame is in the scenes' CRS where they share one, else in EPSG:4326.
    """
    ledger = Ledger()
    frames = [refine_scene(scene, raw, params, reflectance_scale, ledger)
              for scene in tqdm(scenes, desc="refine labels", unit="scene", disable=None)]
    _book_strays(raw, ledger)
    crs = frames[0].crs if all(f.crs == frames[0].crs for f in frames) else "EPSG:4326"
    refined = pd.concat([f.to_crs(crs) for f in frames if len(f)] or frames[:1], ignore_index=True)
    return gpd.GeoDataFrame(refined, crs=crs), ledger


def _book_strays(raw: gpd.GeoDataFrame, ledger: Ledger) -> None:
    """Outlines that no scene's page mentions are booked as dropped, under no scene."""
    booked = {row.source_id for row in ledger.rows}
    strays = raw[~raw["source_id"].isin(booked)].reset_index(drop=True)
    shapes = strays.geometry.to_numpy()
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    shapes = np.where(empty, shapely.Polygon(), shapes)
    strays = strays.set_geometry(gpd.GeoSeries(shapes, crs=raw.crs))
    strays = strays.assign(area_m2=geodesic_area_m2(strays.geometry))
    page = ScenePage(ledger, "")
    rest = page.drop(strays, empty, "has no geometry")
    page.drop(rest, np.ones(len(rest), dtype=np.bool_), "beyond every scene")
