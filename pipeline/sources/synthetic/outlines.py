"""Labels as a map service gives them: settlement outlines shifted, generalised, missing or broken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
import shapely.affinity
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from pipeline.sources.synthetic.noise import PIXEL_M, stream
from pipeline.sources.synthetic.sites import Patch

MISSING_SHARE = (0.17, 0.23)
SWALLOW_SHARE = 0.22
BROKEN_SHARE = 0.05
DOUBLED_SHARE = 0.05


@dataclass(frozen=True)
class Outlines:
    """Outlines in scene metres (x east, y south), the patch each one is of, and the patches nobody mapped."""

    geometries: tuple[BaseGeometry, ...]
    patch_index: tuple[int, ...]
    missing: tuple[int, ...]


def choose_missing(rng: np.random.Generator, areas: np.ndarray) -> np.ndarray:
    """Choose the patches nobody mapped: a fifth by number and, as near as can be, by area."""
    count = len(areas)
    wanted = rng.uniform(*MISSING_SHARE)
    amount = int(np.clip(round(wanted * count), np.ceil(0.15 * count), max(1, np.floor(0.25 * count))))
    tries = [rng.permutation(count)[:amount] for _ in range(50)]
    return np.sort(min(tries, key=lambda chosen: abs(areas[chosen].sum() / areas.sum() - wanted)))


def bow_tie(polygon: Polygon) -> Polygon:
    """The polygon with two vertices exchanged, so that its ring crosses itself."""
    ring = list(polygon.exterior.coords)[:-1]
    quarter = len(ring) // 4
    ring[quarter], ring[quarter + 1] = ring[quarter + 1], ring[quarter]
    crossed = Polygon(ring)
    if crossed.is_valid:
        ring[0], ring[len(ring) // 2] = ring[len(ring) // 2], ring[0]
        crossed = Polygon(ring)
    return crossed


def draw_outlines(seed: int, patches: tuple[Patch, ...], extent_m: float) -> Outlines:
    """Map the settlements the way a map service does.

    All outlines share one shift, to which each adds its own: 0.5 to 3 pixels together. Corners are cut, some
    outlines reach into water and trees, a few cross themselves or come twice.
    """
    rng = stream(seed, "outlines")
    numbered = [(i, patch.polygon) for i, patch in enumerate(patches) if patch.kind == "settlement"]
    areas = np.array([polygon.area for _, polygon in numbered])
    missing = choose_missing(rng, areas)
    turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 1.8) * PIXEL_M
    shared = length * np.array([np.cos(turn), np.sin(turn)])
    mapped = np.setdiff1d(np.arange(len(numbered)), missing)
    order = rng.permutation(mapped)
    swallowing = set(order[: round(SWALLOW_SHARE * len(mapped))].tolist())
    broken = set(order[-max(1, round(BROKEN_SHARE * len(mapped))) :].tolist())
    doubled = set(order[len(order) // 2 :][: max(1, round(DOUBLED_SHARE * len(mapped)))].tolist())
    frame = shapely.box(0, 0, extent_m, extent_m)
    geometries: list[BaseGeometry] = []
    patch_index: list[int] = []
    for number in mapped.tolist():
        index, polygon = numbered[number]
        outline = _generalise(rng, polygon, number in swallowing)
        own = shared + rng.normal(0, 0.35 * PIXEL_M, 2)
        size = float(np.hypot(*own))
        own *= np.clip(size, 0.5 * PIXEL_M, 3.0 * PIXEL_M) / size
        outline = shapely.affinity.translate(outline, *own)
        geometries.append(bow_tie(outline) if number in broken else outline.intersection(frame))
        patch_index.append(index)
        if number in doubled:
            geometries.append(shapely.affinity.translate(outline, 6.0, -4.0).intersection(frame))
            patch_index.append(index)
    return Outlines(tuple(geometries), tuple(patch_index), tuple(numbered[i][0] for i in missing.tolist()))


def _generalise(rng: np.random.Generator, polygon: Polygon, swallow: bool) -> Polygon:
    """Cut corners and grow or shrink the outline a little, or let it swallow what lies around it."""
    grown = polygon.buffer(rng.uniform(24, 40) if swallow else rng.uniform(-4, 10))
    simple = grown.simplify(rng.uniform(8, 16))
    if isinstance(simple, MultiPolygon):
        simple = max(simple.geoms, key=lambda part: part.area)
    if not isinstance(simple, Polygon) or simple.is_empty:
        return polygon
    return Polygon(simple.exterior)
