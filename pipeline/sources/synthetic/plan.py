"""The plan of one city: the zone of every 2 m pixel, and the numbers by which each district is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from affine import Affine
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import burn
from pipeline.sources.synthetic.noise import DRAW_M, PIXEL_M, SUBPIXELS, Field, FloatArray, stream
from pipeline.sources.synthetic.sites import Lines, Patch, Wanted, draw_lines, place_patches


class Zone(IntEnum):
    """Kinds of ground, as drawn and as reported in the strata raster (0 is outside the scene)."""

    FORMAL_CITY = 1
    DENSE_FORMAL = 2
    CONTAINER_YARD = 3
    FALLOW = 4
    SETTLEMENT = 5
    WATER = 6
    TREES = 7
    GRASS = 8
    PADDY = 9
    ROAD = 10


DISTRICT_M = 560.0
PADDY_SHARE = 0.24
PARK_SHARE = 0.08
AVENUE_SHARE = 0.5

PATCHES = (
    Wanted("settlement", 0.057, 5.7, 0.75, 24.0, 0.7, 0.16),
    Wanted("dense_formal", 0.060, 4.6, 0.80, 20.0, 0.55, 0.10),
    Wanted("fallow", 0.035, 3.0, 0.80, 12.0, 0.6, 0.14),
    Wanted("container_yard", 0.025, 4.5, 0.60, 15.0, 0.6, 0.06),
    Wanted("trees", 0.028, 2.2, 0.80, 12.0, 0.5, 0.20),
    Wanted("pond", 0.006, 1.6, 0.60, 6.0, 0.8, 0.12),
)
ZONE_OF_KIND = {
    "settlement": Zone.SETTLEMENT,
    "dense_formal": Zone.DENSE_FORMAL,
    "fallow": Zone.FALLOW,
    "container_yard": Zone.CONTAINER_YARD,
    "trees": Zone.TREES,
    "pond": Zone.WATER,
}


@dataclass(frozen=True)
class Traits:
    """Numbers of each district or patch, indexed by its unit: lengths in metres, shares in 0..1."""

    heading: FloatArray
    street_m: FloatArray
    block_m: FloatArray
    lot_m: FloatArray
    tile_share: FloatArray
    tree_share: FloatArray
    level: FloatArray
    large_share: FloatArray


@dataclass(frozen=True)
class Plan:
    """A city before it is drawn.

    `zone` and `unit` have shape (5 * size_px, 5 * size_px) at 2 m; `unit` indexes `traits`.
    """

    seed: int
    size_px: int
    zone: npt.NDArray[np.uint8]
    unit: npt.NDArray[np.uint16]
    traits: Traits
    lines: Lines
    patches: tuple[Patch, ...]


def draw_traits(rng: np.random.Generator, count: int) -> Traits:
    """Draw the numbers of `count` units, from the same distributions for districts and patches of any kind."""

    def between(low: float, high: float) -> FloatArray:
        return rng.uniform(low, high, count).astype(np.float32)

    return Traits(
        heading=between(0, np.pi),
        street_m=between(5, 11),
        block_m=between(55, 110),
        lot_m=between(13, 28),
        tile_share=between(0.1, 0.6),
        tree_share=between(0.03, 0.22),
        level=np.exp(rng.normal(0, 0.06, count)).astype(np.float32),
        large_share=(0.38 * rng.random(count) ** 1.6).astype(np.float32),
    )


def _districts(seed: int, lines: Lines, size_px: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], int]:
    """Zones and unit numbers of the districts at 10 m, with the avenues between them still unmarked."""
    rng = stream(seed, "districts")
    extent = size_px * PIXEL_M
    per_side = max(3, round(extent / DISTRICT_M))
    centres = (np.indices((per_side, per_side)).reshape(2, -1).T + rng.uniform(0.05, 0.95, (per_side**2, 2))) * (
        extent / per_side
    )
    warp = [Field.random(rng, size_px, 300.0, 35.0).values[:-1, :-1] for _ in range(2)]
    rows, cols = np.indices((size_px, size_px)) * PIXEL_M + PIXEL_M / 2
    points = np.column_stack([(cols + warp[0]).ravel(), (rows + warp[1]).ravel()])
    _, unit = cKDTree(centres).query(points)
    # The fringe lies away from a centre set between coast and middle; the farthest districts grow rice.
    middle = np.array([extent * rng.uniform(0.42, 0.58), extent * rng.uniform(0.38, 0.46)])
    remoteness = np.hypot(*(centres - middle).T) / extent + rng.normal(0, 0.035, len(centres))
    remoteness[centres[:, 1] < 0.18 * extent] -= 0.2
    kinds = np.full(len(centres), Zone.FORMAL_CITY, dtype=np.uint8)
    paddy = np.argsort(remoteness)[-round(PADDY_SHARE * len(centres)) :]
    others = rng.permutation(np.setdiff1d(np.arange(len(centres)), paddy))
    parks = max(1, round(PARK_SHARE * len(centres)))
    kinds[paddy] = Zone.PADDY
    kinds[others[:parks]] = Zone.GRASS
    zone = kinds[unit].reshape(size_px, size_px)
    return zone, unit.reshape(size_px, size_px).astype(np.uint16), len(centres)


def make_plan(seed: int, size_px: int) -> Plan:
    """Plan the city of a seed: `size_px` pixels of 10 m a side."""
    lines = draw_lines(seed, size_px)
    patches = tuple(place_patches(seed, lines, PATCHES))
    coarse_zone, coarse_unit, districts = _districts(seed, lines, size_px)
    zone = coarse_zone.repeat(SUBPIXELS, 0).repeat(SUBPIXELS, 1)
    unit = coarse_unit.repeat(SUBPIXELS, 0).repeat(SUBPIXELS, 1)
    _mark_avenues(seed, zone, unit)
    ground = Grid("", Affine(DRAW_M, 0, 0, 0, DRAW_M, 0), *zone.shape)

    def lay(shapes: list[BaseGeometry], kinds: list[int]) -> npt.NDArray[np.uint8]:
        burnt = burn(shapes, kinds, ground, fill=0)
        np.copyto(zone, burnt, where=burnt > 0)
        return burnt

    lay([lines.railway], [Zone.ROAD])
    shapes = [patch.polygon for patch in patches]
    laid = lay(shapes, [ZONE_OF_KIND[patch.kind] for patch in patches])
    # Patch numbers go beyond a byte, which is what `burn` paints: low and high byte in turn.
    number = burn(shapes, [i % 256 for i in range(len(shapes))], ground, fill=0).astype(np.uint16)
    number += burn(shapes, [i // 256 for i in range(len(shapes))], ground, fill=0).astype(np.uint16) * 256
    np.copyto(unit, number + np.uint16(districts), where=laid > 0)
    lay([lines.water], [Zone.WATER])
    traits = draw_traits(stream(seed, "traits"), districts + len(patches))
    return Plan(seed, size_px, zone, unit, traits, lines, patches)


def _mark_avenues(seed: int, zone: npt.NDArray[np.uint8], unit: npt.NDArray[np.uint16]) -> None:
    """Turn the seams between some neighbouring districts into avenues of about 14 m, in place."""
    chosen = stream(seed, "avenues").random(8191) < AVENUE_SHARE
    reach = 3
    for axis in (0, 1):
        one, two = (unit[:-1], unit[1:]) if axis == 0 else (unit[:, :-1], unit[:, 1:])
        rows, cols = np.nonzero(one != two)
        first, second = one[rows, cols].astype(np.int64), two[rows, cols].astype(np.int64)
        keep = chosen[(first + second + 31 * first * second) % len(chosen)]
        where = [rows[keep], cols[keep]]
        for shift in range(-reach, reach + 1):
            moved = list(where)
            moved[axis] = np.clip(moved[axis] + shift, 0, unit.shape[axis] - 1)
            zone[tuple(moved)] = Zone.ROAD
