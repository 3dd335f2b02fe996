"""Refine outlines by rules: carve derived ground out of them, add it where no outline lies, book every change."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from pipeline.fanout import fan_out
from pipeline.geo.ground import Ground
from pipeline.geo.raster_io import describe
from pipeline.geo.scratch import scratch_array
from pipeline.geo.vector_io import geodesic_area_m2
from pipeline.labels.carve import Carved, Claims, carve, outside
from pipeline.labels.clean import clean, near_scene
from pipeline.labels.components import Claim, claim_ground
from pipeline.labels.confidence import polygon_confidence
from pipeline.labels.evidence import Evidence
from pipeline.labels.ledger import Action, Ledger, ScenePage
from pipeline.labels.polygons import Polygons
from pipeline.labels.shift import check_shifts
from pipeline.params.refine_labels import IndexRule, RefineParams

#: Derived ground outside outlines comes in polygons that end at the edges of tiles of this side.
TILE_PX = 64


@dataclass(frozen=True)
class SceneJob:
    """One scene to refine.

    Attributes:
        scene: the raw scene; its stem is its id.
        raw: outlines as acquired, with class and source_id.
        params: the rules.
        reflectance_scale: digital numbers / this = reflectance.
    """

    scene: Path
    raw: gpd.GeoDataFrame
    params: RefineParams
    reflectance_scale: float


@dataclass(frozen=True)
class Refined:
    """Refined labels.

    Attributes:
        labels: class, confidence, source_id, scene, geometry; pairwise disjoint in a scene.
        ledger: every change.
        thresholds: for each scene and rule its threshold and what it claimed, as plain data.
    """

    labels: gpd.GeoDataFrame
    ledger: Ledger
    thresholds: list[dict[str, Any]]


def refine_scene(job: SceneJob) -> Refined:
    """Refined labels of one scene in its CRS.

    Raises:
        ParamsError: a rule's index does not exist.
        SceneError: the scene lacks a band of a rule's index, or Otsu's threshold lies outside its bounds.
    """
    params, scene, ledger = job.params, job.scene.stem, Ledger()
    ground = Ground(describe(job.scene).grid)
    page = ScenePage(ledger, scene, ground.area_m2)
    outlines = clean(near_scene(job.raw, ground, params.shift.get(scene)), ground.grid, page)
    evidence = Evidence(job.scene, params.rules, job.reflectance_scale)
    thresholds = evidence.thresholds()
    claims, claimed = claim_by_rules(evidence, thresholds, ground)
    reasons = [_reason(rule, threshold) for rule, threshold in zip(params.rules, thresholds, strict=True)]
    carved = carve(outlines, params.rules, claims, reasons, page)
    added = _added(claims, params.rules, carved, reasons, page)
    small = carved.outlines.area_m2 < params.min_polygon_m2
    outlines = page.drop(carved.outlines, small, f"smaller than {params.min_polygon_m2:g} m2")
    page.settle(outlines)
    report = _what_rules_did(scene, evidence.rules, thresholds, claimed, ledger)
    everything = Polygons.joined([outlines, *carved.pieces, added])
    confidence = np.full(len(everything), params.derived_confidence)
    confidence[: len(outlines)] = params.outline_confidence
    labels = everything.frame(ground.grid.crs, confidence=confidence).assign(scene=scene)
    labels = labels[["class", "confidence", "source_id", "scene", "geometry"]]
    labels["confidence"] *= polygon_confidence(job.scene, labels, params.confidence)
    return Refined(labels, ledger, report)


def _what_rules_did(scene: str, rules: tuple[IndexRule, ...], thresholds: Sequence[float], claimed: list[Claim],
                    ledger: Ledger) -> list[dict[str, Any]]:
    """For each rule its threshold, the ground it claimed (in how many areas), and what came of it, as plain data."""
    actions: tuple[Action, ...] = ("carved", "dropped", "added")
    entries = []
    for rule, threshold, claim in zip(rules, thresholds, claimed, strict=True):
        done = {f"{action}_m2": round(abs(ledger.changed_m2(action, _reason(rule, threshold))), 1)
                for action in actions}
        entries.append({"scene": scene, "target": rule.target, "index": rule.index, "method": rule.method,
                        "side": rule.side, "threshold": threshold, "area_m2": round(claim.area_m2, 1),
                        "areas": claim.components, **done})
    return entries


def claim_by_rules(evidence: Evidence, thresholds: Sequence[float], ground: Ground) -> tuple[Claims, list[Claim]]:
    """The ground each rule claims; what an earlier one has claimed stays its own."""
    holds = evidence.holds(thresholds)
    claims = scratch_array(ground.grid.shape, np.uint8)
    claimed = [claim_ground(holds, 1 << k, claims, k + 1, ground, rule.min_area_m2)
               for k, rule in enumerate(evidence.rules)]
    return Claims(claims, ground.grid), claimed


def _added(claims: Claims, rules: tuple[IndexRule, ...], carved: Carved, reasons: list[str],
           page: ScenePage) -> Polygons:
    """Derived ground where no outline lies, as new polygons of the rules' classes."""
    shapes, rule_of = outside(claims, rules, carved.covered, TILE_PX)
    number = np.arange(len(shapes)) - np.searchsorted(rule_of, rule_of)
    prefixes = [rule.name for rule in rules]
    names = np.array([f"{prefixes[k]}-{i:05d}" for k, i in zip(rule_of.tolist(), number.tolist(), strict=True)],
                     dtype=object)
    classes, why = (np.array(words, dtype=object)[rule_of] for words in ([r.target for r in rules], reasons))
    return page.add(classes, names, shapes, why)


def _reason(rule: IndexRule, threshold: float) -> str:
    return f"{rule.index} {rule.side} {threshold:g} is {rule.target}"


def refine_all(scenes: Sequence[Path], raw: gpd.GeoDataFrame, params: RefineParams,
               reflectance_scale: float) -> Refined:
    """Refined labels of all scenes in one frame.

    The frame is in the scenes' CRS where they share one, else in EPSG:4326.

    Raises:
        ParamsError: a shift names no scene, or a rule's index does not exist.
        SceneError: a scene lacks a band of a rule's index, or Otsu's threshold lies outside its bounds.
    """
    check_shifts(params.shift, [scene.stem for scene in scenes])
    done = fan_out(refine_scene, [SceneJob(scene, raw, params, reflectance_scale) for scene in scenes],
                   "refine labels")
    ledger = Ledger()
    for one in done:
        ledger.extend(one.ledger)
    _book_strays(raw, ledger)
    frames = [one.labels for one in done]
    crs = frames[0].crs if all(f.crs == frames[0].crs for f in frames) else "EPSG:4326"
    labels = pd.concat([f.to_crs(crs) for f in frames if len(f)] or frames[:1], ignore_index=True)
    return Refined(gpd.GeoDataFrame(labels, crs=crs), ledger, [entry for one in done for entry in one.thresholds])


def _book_strays(raw: gpd.GeoDataFrame, ledger: Ledger) -> None:
    """Outlines that no scene's page mentions are booked as dropped, under no scene."""
    strays = raw[~ledger.has(raw["source_id"].to_numpy(dtype=object))]
    shapes = strays.geometry.to_numpy()
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    areas = geodesic_area_m2(gpd.GeoSeries(np.where(empty, shapely.Polygon(), shapes), crs=raw.crs))
    reasons = np.where(empty, "has no geometry", "beyond every scene").astype(object)
    ledger.book("", Polygons.of(strays, areas), "dropped", reasons, np.zeros(len(strays)))
