"""Where things lie: coast, river, canals and railway as vectors, and the irregular patches set along them.

Coordinates are metres from the scene's north-west corner, x to the east and y to the *south*, so that they follow
the rows of the raster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
import shapely.affinity
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.strtree import STRtree

from pipeline.sources.synthetic.noise import PIXEL_M, stream

HECTARE_M2 = 1e4


@dataclass(frozen=True)
class Lines:
    """The linear features of the scene; water already has its width."""

    extent_m: float
    water: BaseGeometry
    railway: BaseGeometry
    coast: LineString
    guides: tuple[LineString, ...]


@dataclass(frozen=True)
class Patch:
    """One irregular patch of ground and the kind of ground it is."""

    kind: str
    polygon: Polygon


def wander(rng: np.random.Generator, length: int, bends: int, amplitude: float) -> np.ndarray:
    """A smooth wandering offset of `length` points: a few sines of falling amplitude."""
    along = np.linspace(0.0, 1.0, length)
    offset = np.zeros(length)
    for harmonic in range(1, bends + 1):
        offset += np.sin(2 * np.pi * (harmonic * along + rng.random())) * rng.normal(0, amplitude / harmonic**0.8)
    return offset


def draw_lines(seed: int, size_px: int) -> Lines:
    """Lay out sea in the north, a river to it, canals and a railway."""
    rng = stream(seed, "lines")
    extent = size_px * PIXEL_M
    points = 400
    along = np.linspace(-0.05, 1.05, points) * extent
    sea_depth = extent * rng.uniform(0.085, 0.11)
    shore = np.clip(
        sea_depth + wander(rng, points, 7, 0.014 * extent) + wander(rng, points, 40, 22.0),
        0.03 * extent,
        None,
    )
    coast = LineString(np.column_stack([along, shore]))
    sea = Polygon([(-extent, -extent), *coast.coords, (2 * extent, -extent)]).buffer(0)

    centre = extent * rng.uniform(0.35, 0.65)
    river_x = centre + wander(rng, points, 6, 0.035 * extent) + wander(rng, points, 14, 0.010 * extent)
    river = LineString(np.column_stack([river_x, along]))
    water = [sea, river.buffer(rng.uniform(26, 38)), *_harbour(rng, coast, extent)]
    guides = [coast, river, river]
    for index in range(max(2, round(extent / 2000))):
        across = extent * (0.16 + 0.8 * (index + rng.uniform(0.2, 0.8)) / max(2, round(extent / 2000)))
        offset = across + wander(rng, points, 5, 0.014 * extent)
        pairs = [offset, along] if index % 2 == 0 else [along, offset]
        canal = LineString(np.column_stack(pairs))
        water.append(canal.buffer(rng.uniform(7, 14)))
        guides.append(canal)
    slope = rng.uniform(-0.25, 0.25)
    rail_y = extent * rng.uniform(0.4, 0.7) + slope * (along - extent / 2) + wander(rng, points, 2, 0.03 * extent)
    rail = LineString(np.column_stack([along, rail_y]))
    guides += [rail, rail]
    frame = shapely.box(0, 0, extent, extent)
    return Lines(
        extent,
        shapely.union_all(water).intersection(frame),
        rail.buffer(9).intersection(frame),
        coast,
        tuple(guides),
    )


def _harbour(rng: np.random.Generator, coast: LineString, extent: float) -> list[BaseGeometry]:
    """Docks dug into the coast: a few straight basins side by side."""
    first = rng.uniform(0.15, 0.75) * extent
    docks: list[BaseGeometry] = []
    for index in range(3):
        x = first + index * rng.uniform(220, 300)
        y = coast.interpolate((x / extent + 0.05) / 1.1, normalized=True).y
        depth = rng.uniform(0.015, 0.035) * extent
        docks.append(shapely.box(x, y - 250, x + rng.uniform(60, 110), y + depth))
    return docks


def blob(rng: np.random.Generator, area_m2: float, stretch: float, heading: float, roughness: float) -> Polygon:
    """An irregular closed outline about the origin: a stretched circle with falling harmonics."""
    turns = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones(72)
    for harmonic in range(2, 10):
        radius += roughness / harmonic**0.7 * rng.normal() * np.cos(harmonic * turns + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.35, 1.9)
    x, y = radius * np.cos(turns) * np.sqrt(stretch), radius * np.sin(turns) / np.sqrt(stretch)
    cos, sin = np.cos(heading), np.sin(heading)
    outline = np.column_stack([x * cos - y * sin, x * sin + y * cos])
    shape = Polygon(outline).buffer(0)
    factor = np.sqrt(area_m2 / shape.area)
    return Polygon(outline * factor)


@dataclass(frozen=True)
class Wanted:
    """How much of one kind of patch to place: share of the scene, lognormal sizes, closeness to lines."""

    kind: str
    share: float
    median_ha: float
    sigma: float
    most_ha: float
    by_line: float
    roughness: float


def place_patches(seed: int, lines: Lines, wanted: tuple[Wanted, ...], gap_m: float = 30.0) -> list[Patch]:
    """Place patches of each kind, in turn until each has its share of the scene, without overlap.

    Patches lie `gap_m` apart and are cut by water and railway; one that loses its place is drawn again.
    """
    rng = stream(seed, "patches")
    blocked = shapely.union_all([lines.water.buffer(4), lines.railway.buffer(3)])
    shapely.prepare(blocked)
    placed: list[Patch] = []
    taken = STRtree([])
    owed = {want.kind: want.share * lines.extent_m**2 for want in wanted}
    for _ in range(20_000 * max(1, round((lines.extent_m / 10_240) ** 2))):
        open_kinds = [want for want in wanted if owed[want.kind] > 0]
        if not open_kinds:
            break
        want = max(open_kinds, key=lambda item: owed[item.kind] / item.share)
        outline = _outline(rng, lines, want)
        if outline is None or len(taken.query(outline, predicate="dwithin", distance=gap_m)):
            continue
        rest = _cut(outline, lines.extent_m, blocked)
        if rest is None:
            continue
        placed.append(Patch(want.kind, rest))
        taken = STRtree([patch.polygon for patch in placed])
        owed[want.kind] -= rest.area
    return placed


def _outline(rng: np.random.Generator, lines: Lines, want: Wanted) -> Polygon | None:
    """One outline at a random place, or None where it falls outside or crosses itself."""
    extent = lines.extent_m
    hectares = float(np.clip(want.median_ha * np.exp(want.sigma * rng.normal()), 0.8, want.most_ha))
    area = min(hectares * HECTARE_M2, 0.02 * extent**2)
    stretch = rng.uniform(1.1, 3.2)
    if rng.random() < want.by_line:
        line = lines.guides[rng.integers(len(lines.guides))]
        place = rng.uniform(0, line.length)
        here, ahead = line.interpolate(place), line.interpolate(place + 60)
        heading = np.arctan2(ahead.y - here.y, ahead.x - here.x)
        side = rng.choice([-1.0, 1.0])
        away = 18 + np.sqrt(area / stretch) * rng.uniform(0.45, 0.75)
        x, y = here.x - side * away * np.sin(heading), here.y + side * away * np.cos(heading)
    else:
        x, y = rng.uniform(0, extent, 2)
        heading = rng.uniform(0, np.pi)
    if not (60 < x < extent - 60 and 60 < y < extent - 60):
        return None
    outline = shapely.affinity.translate(blob(rng, area, stretch, heading, want.roughness), x, y)
    return outline if outline.is_valid else None


def _cut(outline: Polygon, extent: float, blocked: BaseGeometry) -> Polygon | None:
    """The largest piece of an outline that water and railway leave; None where that is under 55 %."""
    rest = outline.intersection(shapely.box(0, 0, extent, extent))
    if blocked.intersects(rest):
        rest = rest.difference(blocked)
    if isinstance(rest, MultiPolygon):
        rest = max(rest.geoms, key=lambda part: part.area)
    if not isinstance(rest, Polygon) or rest.area < 0.55 * outline.area:
        return None
    return Polygon(rest.exterior)
