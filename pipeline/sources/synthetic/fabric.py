"""How each kind of built ground looks at 2 m: streets, lots, roofs, containers, alleys and trees among them.

Every function takes flat arrays of the pixels to draw and returns a `Drawn`. Settlements, formal city and
confounders share their colours and, at 10 m, their local means and deviations. They differ in grain and direction:
the formal city has bright roofs on lots along bent streets; dense quarters have parallel rows of small houses;
yards have parallel stacks; fallow land is smooth; settlements are a cover of tiny roofs without direction, pierced
by irregular dark gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.sources.synthetic import spectra
from pipeline.sources.synthetic.noise import Cells, FloatArray, HashArray, cells, mix, pick, salt_of, uniform
from pipeline.sources.synthetic.plan import Traits

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Site:
    """The pixels of one kind of ground in a row band.

    Place (x, y) and the smooth wandering `warp` are in metres, `rough` is a smooth field of unit variance.
    """

    x: FloatArray
    y: FloatArray
    unit: npt.NDArray[np.uint16]
    warp: tuple[FloatArray, FloatArray]
    rough: FloatArray
    traits: Traits
    seed: int

    def turned(self, bend: float) -> tuple[FloatArray, FloatArray]:
        """Coordinates along and across the unit's heading, bent by the smooth wandering."""
        heading = self.traits.heading[self.unit]
        cos, sin = np.cos(heading), np.sin(heading)
        x, y = self.x + np.float32(bend) * self.warp[0], self.y + np.float32(bend) * self.warp[1]
        return x * cos + y * sin, y * cos - x * sin

    def salt(self, name: str) -> HashArray:
        """One salt for each pixel's unit."""
        return mix(salt_of(self.seed, name), self.unit)


@dataclass(frozen=True)
class Drawn:
    """Reflectance (4, n) and which of the pixels are tree crowns."""

    reflectance: FloatArray
    trees: BoolArray


def _crowns(site: Site, share: FloatArray, spacing_m: float, name: str) -> BoolArray:
    """Tree crowns: discs at jittered places of a grid, present with probability `share`."""
    salt = salt_of(site.seed, name)
    column = np.floor(site.x / np.float32(spacing_m))
    row = np.floor(site.y / np.float32(spacing_m))
    bits = mix(salt, column.astype(np.int32), row.astype(np.int32))
    aside, down = uniform(bits), uniform(mix(salt + 1 & 0xFFFFFFFF, bits))
    dx = site.x / np.float32(spacing_m) - column - (0.3 + 0.4 * aside)
    dy = site.y / np.float32(spacing_m) - row - (0.3 + 0.4 * down)
    there = uniform(mix(salt + 2 & 0xFFFFFFFF, bits)) < share
    crowns: BoolArray = there & (dx * dx + dy * dy < 0.16)
    return crowns


def _finish(level: FloatArray, material: npt.NDArray[np.integer], trees: BoolArray) -> Drawn:
    """Colour the ground and put the crowns on it."""
    reflectance = spectra.shaped(level, material)
    reflectance[:, trees] = spectra.DENSE_VEGETATION[:, None]
    return Drawn(reflectance, trees)


def formal_city(site: Site) -> Drawn:
    """Irregular blocks on bent streets; lots in two rows with yards behind, or one large roof."""
    traits, unit = site.traits, site.unit
    along, across = site.turned(1.0)
    block_m = traits.block_m[unit]
    salt = site.salt("blocks")
    row = cells(across, block_m, 0.6, salt)
    row_salt = mix(salt, row.index)
    column = cells(along + 97 * uniform(row_salt), block_m * 1.5, 0.7, row_salt)
    block = mix(row_salt, column.index)
    half_street = traits.street_m[unit] * (0.35 + 0.35 * uniform(row_salt))
    to_street = np.minimum(row.to_edge, column.to_edge)
    street = to_street < half_street

    large = uniform(mix(block, unit)) < traits.large_share[unit]
    # Lots: two rows back to back, cut along the block; large roofs take pieces of 40 to 70 m.
    upper = row.to_low < row.to_high
    lot_salt = mix(block, upper.astype(np.int32))
    lot = cells(along, traits.lot_m[unit] * np.where(large, np.float32(3.2), np.float32(1.0)), 0.5, lot_salt)
    bits = mix(lot_salt, lot.index)
    depth = np.minimum(row.to_low, row.to_high) - half_street
    reach = np.where(large, np.float32(60), 14 + 14 * uniform(mix(bits, unit)))
    gap = np.where(large, np.float32(3.5), 0.5 + 1.5 * uniform(bits))
    roof = ~street & (lot.to_edge > gap) & (depth > 2) & (depth < reach)
    level = np.where(large, pick(spectra.LARGE_ROOF, bits), pick(spectra.SMALL_ROOF, bits))
    tile = ~large & (uniform(mix(bits, lot.index)) < traits.tile_share[unit])
    material = np.where(tile, spectra.TILE, np.where(large, spectra.METAL, spectra.GREY))

    paving = pick(spectra.PAVING, block)
    level = np.where(roof, level, paving)
    material = np.where(roof, material, spectra.EARTH)
    estate = 0.52 + 0.96 * uniform(mix(block, row.index))  # blocks are built in one go, of one kind of roof
    level = np.where(street, np.float32(0.120), level * estate) * traits.level[unit]
    material = np.where(street, spectra.ASPHALT, material)
    share = traits.tree_share[unit]
    return _finish(level, material, ~roof & _crowns(site, share * 2, 9.0, "street trees"))


def settlement(site: Site) -> Drawn:
    """Roofs of 3 to 6 m between winding alleys and dark gaps, in no direction."""
    traits, unit = site.traits, site.unit
    salt = site.salt("shanties")
    along, across = site.turned(1.6)
    row = cells(across + 5 * site.rough, 4.6, 0.6, salt)
    row_salt = mix(salt, row.index)
    column = cells(along + 31 * uniform(row_salt), 4.8, 0.6, row_salt)
    roof_bits = mix(row_salt, column.index)
    group_row = cells(across + 9 * site.rough, 18.0, 0.8, mix(salt, unit))
    group_salt = mix(salt, unit, group_row.index)
    group = cells(along + 53 * uniform(group_salt), 20.0, 0.8, group_salt)
    group_bits = mix(group_salt, group.index)
    gap = uniform(group_bits) < 0.22
    rusty = uniform(mix(group_bits, unit)) < traits.tile_share[unit]
    alley = np.abs(site.rough) < 0.05
    level = np.where(alley, np.float32(0.10), pick(spectra.SHANTY_ROOF, roof_bits))
    level = np.where(gap, np.float32(0.075), level) * traits.level[unit]
    material = np.where(alley | gap, spectra.EARTH, np.where(rusty, spectra.RUST, spectra.GREY))
    return _finish(level, material, _crowns(site, traits.tree_share[unit] * 0.7, 9.0, "shanty trees"))


def dense_formal(site: Site) -> Drawn:
    """Rows of small houses back to back on narrow parallel lanes: a lattice with a direction."""
    traits, unit = site.traits, site.unit
    along, across = site.turned(0.35)
    salt = site.salt("rows")
    lane = cells(across, 35.0, 0.15, salt)
    lane_salt = mix(salt, lane.index)
    upper = lane.to_low < lane.to_high
    stretch = cells(along, 34.0, 0.6, mix(lane_salt, upper.astype(np.int32)))
    bits = mix(lane_salt, stretch.index, upper.astype(np.int32))
    street = lane.to_edge < 3.0
    level = pick(spectra.ROW_ROOF, bits)
    rusty = uniform(mix(bits, unit)) < traits.tile_share[unit]
    material = np.where(rusty, spectra.TILE, spectra.GREY)
    level = np.where(street, np.float32(0.10), level) * traits.level[unit]
    material = np.where(street, spectra.ASPHALT, material)
    return _finish(level, material, street & _crowns(site, traits.tree_share[unit], 9.0, "row trees"))


def container_yard(site: Site) -> Drawn:
    """Stacks of containers in straight parallel rows on paving."""
    traits, unit = site.traits, site.unit
    along, across = site.turned(0.0)
    salt = site.salt("stacks")
    row = cells(across, 31.0, 0.05, salt)
    row_salt = mix(salt, row.index)
    stack = cells(along, 26.0, 0.3, row_salt)
    bits = mix(row_salt, stack.index)
    filled = (row.to_edge > 5.0) & (uniform(mix(bits, unit)) < 0.85)
    rusty = uniform(mix(bits, stack.index)) < traits.tile_share[unit]
    level = np.where(filled, pick(spectra.CONTAINER, bits), np.float32(0.15)) * traits.level[unit]
    material = np.where(filled & rusty, spectra.RUST, spectra.GREY)
    return _finish(level, material, np.zeros(len(level), dtype=bool))


def fallow(site: Site) -> Drawn:
    """Cleared lots: heaps and hollows of earth and thin grass, smooth and without edges."""
    traits, unit = site.traits, site.unit
    roll = 0.034 * site.rough + 0.0006 * site.warp[0]
    level = np.clip(0.145 + roll, 0.03, 0.4).astype(np.float32) * traits.level[unit]
    green = np.clip(0.25 * traits.tree_share[unit] / 0.12 - 0.02 * site.warp[1] / 10, 0, 0.6)
    bare = spectra.shaped(level, np.full(len(level), spectra.GREY))
    reflectance = bare * (1 - green) + spectra.THIN_VEGETATION[:, None] * green
    return Drawn(reflectance.astype(np.float32), np.zeros(len(level), dtype=bool))


def paddies(site: Site) -> tuple[Drawn, BoolArray, BoolArray]:
    """Rice fields of any stage between bunds; also which pixels are under water and which are bare."""
    along, across = site.turned(0.5)
    salt = site.salt("paddies")
    row = cells(across, 60.0, 0.5, salt)
    row_salt = mix(salt, row.index)
    field: Cells = cells(along, 95.0, 0.6, row_salt)
    bits = mix(row_salt, field.index)
    stage = uniform(bits)
    flooded, bare = stage < 0.05, stage > 0.86
    growth = np.clip((stage - 0.05) / 0.6, 0, 1) + 0.05 * site.rough
    reflectance = spectra.THIN_VEGETATION[:, None] * (1 - growth) + 1.05 * spectra.DENSE_VEGETATION[:, None] * growth
    soil = spectra.shaped(0.11 + 0.05 * uniform(mix(bits, field.index)), np.full(len(stage), spectra.EARTH))
    reflectance = np.where(bare, soil, reflectance)
    reflectance = np.where(flooded, spectra.WATER[:, None] * np.float32(1.3), reflectance)
    return Drawn(reflectance.astype(np.float32), ~flooded & ~bare), flooded, bare
