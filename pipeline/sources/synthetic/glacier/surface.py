"""What lies on the ground: ice, debris, lakes, snow, rock of several kinds, moraine, outwash and meadows."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.seeding import generator
from pipeline.sources.synthetic.glacier.debris import carry_debris
from pipeline.sources.synthetic.glacier.domain import Domain, Shares
from pipeline.sources.synthetic.glacier.fields import FloatArray, fractal_field, smooth_field
from pipeline.sources.synthetic.glacier.ice import Ice, grow_ice
from pipeline.sources.synthetic.glacier.lakes import Lake, fill_lakes
from pipeline.sources.synthetic.glacier.terrain import Terrain, make_terrain, slope_of
from pipeline.types import UInt8Array

CLASSES = ("background", "glacier", "debris_covered_ice", "lake")
BACKGROUND, GLACIER, DEBRIS, LAKE = range(4)


@dataclass(frozen=True)
class Surface:
    """An image's ground, margin included; all HW.

    Attributes:
        terrain: the ground without ice.
        ice: the glaciers.
        debris: thickness in units of the least that hides ice, 0 = none.
        lakes: all standing water, whatever counts as a lake.
        height: what the sun falls on, metres; lakes are level.
        snow: share of a pixel under seasonal snow, 0 to 1.
        loose: share of loose ground (moraine, outwash, scree) outside ice, 0 to 1.
        classes: class ids by the domain's definition of a lake.
    """

    terrain: Terrain
    ice: Ice
    debris: FloatArray
    lakes: tuple[Lake, ...]
    height: FloatArray
    snow: FloatArray
    loose: FloatArray
    classes: UInt8Array


def make_surface(seed: int, image: int, size_px: int, shares: Shares, domain: Domain) -> Surface:
    """The ground of an image of a seed, with the shares drawn for it."""
    terrain = make_terrain(seed, image, size_px)
    ice = grow_ice(generator(seed, "glacier", image, "ice"), terrain, shares.ice)
    debris = carry_debris(generator(seed, "glacier", image, "debris"), terrain, ice, shares.debris)
    rng = generator(seed, "glacier", image, "lakes")
    lakes = tuple(fill_lakes(rng, terrain, ice, debris, round(shares.lake * size_px**2)))
    height = _relief(generator(seed, "glacier", image, "relief"), ice, debris, lakes)
    snow = _snow(generator(seed, "glacier", image, "snow"), ice, lakes, height, domain.snowline_m)
    loose = _loose(generator(seed, "glacier", image, "loose"), terrain, ice)
    return Surface(terrain, ice, debris, lakes, height, snow, loose, _classes(ice, debris, lakes, domain))


def _classes(ice: Ice, debris: FloatArray, lakes: tuple[Lake, ...], domain: Domain) -> UInt8Array:
    classes = np.where(ice.mask, np.where(debris > 0, DEBRIS, GLACIER), BACKGROUND).astype(np.uint8)
    for lake in lakes:
        if len(lake.pixels) >= domain.least_lake_px and (domain.ponds or lake.kind != "pond"):
            classes.ravel()[lake.pixels] = LAKE
    return classes


def _relief(rng: np.random.Generator, ice: Ice, debris: FloatArray, lakes: tuple[Lake, ...]) -> FloatArray:
    """The surface with hummocks of debris and level lakes."""
    size = ice.mask.shape[0]
    thick = ndimage.gaussian_filter(np.clip(debris, 0, 4), 0.8)
    height = ice.surface + 2.6 * thick * fractal_field(rng, size, 3.2, 2, 0.7)
    height += np.where(ice.mask, 0.8, 0.0) * fractal_field(rng, size, 5, 2)
    for lake in lakes:
        height.ravel()[lake.pixels] = height.ravel()[lake.pixels].min()
    return np.asarray(height)


def _snow(rng: np.random.Generator, ice: Ice, lakes: tuple[Lake, ...], height: FloatArray,
          snowline_m: float) -> FloatArray:
    """Seasonal snow: above a line that is lower on shaded and hollow ground; none on walls."""
    size = ice.mask.shape[0]
    line = ice.ela + snowline_m + rng.normal(-60, 90)
    smooth = ndimage.gaussian_filter(height, 2.0)
    down, right = np.gradient(smooth, 30.0)
    northern = np.clip(down, -0.6, 0.6)  # rises southwards: faces north
    hollow = np.clip(ndimage.gaussian_filter(height, 5) - smooth, -18, 18)
    patchy = fractal_field(rng, size, 26, 5, 0.65)
    walls = np.clip(np.hypot(down, right) - 0.7, 0, 2)
    on_rock = height - line + 320 * northern + 9 * hollow + 150 * patchy - 260 * walls
    on_ice = height - line + 90 * northern + 55 * smooth_field(rng, size, 30) + 35 * patchy
    depth = np.where(ice.mask, on_ice / 45, on_rock / 55)
    snow = np.asarray(1 / (1 + np.exp(-np.clip(depth, -30, 30))))
    for lake in lakes:
        snow.ravel()[lake.pixels] = 0
    return snow


def _loose(rng: np.random.Generator, terrain: Terrain, ice: Ice) -> FloatArray:
    """Moraine beside and before tongues, outwash on valley floors, scree below walls."""
    size = ice.mask.shape[0]
    from_ice = ndimage.distance_transform_edt(~ice.mask)
    low = ndimage.maximum_filter(np.where(ice.mask, ice.ela - ice.surface, -1e4), 25) > 50
    rough = fractal_field(rng, size, 18, 3)
    moraine = np.where(low, np.exp(-from_ice / (6 + 3 * np.clip(rough, -1.5, 2))), 0)
    steep = slope_of(ndimage.gaussian_filter(ice.surface, 2.0))
    scree = np.clip(1 - np.abs(steep - 0.62) / 0.12, 0, 1) * np.clip(rough + 0.2, 0, 1)
    outwash = terrain.floor * np.clip(0.8 + 0.4 * rough, 0, 1)
    return np.asarray(np.where(ice.mask, 0, np.clip(np.maximum(np.maximum(moraine, outwash), scree), 0, 1)))
