"""Draw a planned city at 2 m, one band of rows at a time: reflectance in four bands and the ground's class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.sources.synthetic import fabric, spectra
from pipeline.sources.synthetic.noise import DRAW_M, Field, FloatArray, stream
from pipeline.sources.synthetic.plan import Plan, Zone

BACKGROUND, SETTLEMENT, WATER, VEGETATION = range(4)

BUILT = {
    Zone.FORMAL_CITY: fabric.formal_city,
    Zone.DENSE_FORMAL: fabric.dense_formal,
    Zone.CONTAINER_YARD: fabric.container_yard,
    Zone.FALLOW: fabric.fallow,
    Zone.SETTLEMENT: fabric.settlement,
}


@dataclass(frozen=True)
class Fields:
    """Smooth fields by which streets bend, ground rolls and water is turbid."""

    bend_x: Field
    bend_y: Field
    rough: Field
    woody: Field
    broad: Field

    @classmethod
    def draw(cls, seed: int, size_px: int) -> Fields:
        """Draw the fields of a seed."""
        rng = stream(seed, "fields")
        return cls(
            Field.random(rng, size_px, 180.0, 14.0),
            Field.random(rng, size_px, 180.0, 14.0),
            Field.random(rng, size_px, 32.0),
            Field.random(rng, size_px, 110.0),
            Field.random(rng, size_px, 700.0),
        )


def draw_rows(plan: Plan, fields: Fields, start: int, stop: int) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Draw the 2 m rows start..stop.

    Returns:
        reflectance (4, rows, width) and class (rows, width) of the ground.
    """
    zone, unit = plan.zone[start:stop], plan.unit[start:stop]
    width = zone.shape[1]
    reflectance = np.zeros((4, zone.size), dtype=np.float32)
    classes = np.zeros(zone.size, dtype=np.uint8)
    y = np.repeat((np.arange(start, stop, dtype=np.float32) + 0.5) * DRAW_M, width)
    x = np.tile((np.arange(width, dtype=np.float32) + 0.5) * DRAW_M, stop - start)
    bend_x, bend_y = fields.bend_x.rows(start, stop).ravel(), fields.bend_y.rows(start, stop).ravel()
    rough, broad = fields.rough.rows(start, stop).ravel(), fields.broad.rows(start, stop).ravel()
    woody = fields.woody.rows(start, stop).ravel()

    def site(where: npt.NDArray[np.intp]) -> fabric.Site:
        return fabric.Site(
            x[where],
            y[where],
            unit.ravel()[where],
            (bend_x[where], bend_y[where]),
            rough[where],
            plan.traits,
            plan.seed,
        )

    flat = zone.ravel()
    for kind in np.unique(flat):
        where = np.flatnonzero(flat == kind)
        if kind in BUILT:
            drawn = BUILT[Zone(kind)](site(where))
            reflectance[:, where] = drawn.reflectance
            ground = SETTLEMENT if kind == Zone.SETTLEMENT else BACKGROUND
            classes[where] = np.where(drawn.trees, VEGETATION, ground)
        elif kind == Zone.PADDY:
            drawn, flooded, bare = fabric.paddies(site(where))
            reflectance[:, where] = drawn.reflectance
            classes[where] = np.where(flooded, WATER, np.where(bare, BACKGROUND, VEGETATION))
        else:
            classes[where] = _open_ground(Zone(kind), where, reflectance, rough[where], broad[where], woody[where])
    shape = (stop - start, width)
    return reflectance.reshape(4, *shape), classes.reshape(shape)


def _open_ground(
    kind: Zone,
    where: npt.NDArray[np.intp],
    reflectance: FloatArray,
    rough: FloatArray,
    broad: FloatArray,
    woody: FloatArray,
) -> int:
    """Draw water, trees, grass or road into `reflectance` and return the class of that ground."""
    match kind:
        case Zone.WATER:
            turbid = np.exp(0.20 * broad + 0.02 * rough)
            reflectance[:, where] = spectra.WATER[:, None] * turbid
            return WATER
        case Zone.TREES:
            reflectance[:, where] = spectra.DENSE_VEGETATION[:, None] * (1 + 0.18 * rough + 0.1 * broad)
            return VEGETATION
        case Zone.GRASS:
            share = np.clip(0.5 + 0.30 * rough + 0.55 * woody, 0, 1)
            mixed = spectra.THIN_VEGETATION[:, None] * (1 - share) + spectra.DENSE_VEGETATION[:, None] * share
            reflectance[:, where] = mixed
            return VEGETATION
        case _:
            level = (0.11 + 0.012 * rough).astype(np.float32)
            reflectance[:, where] = spectra.shaped(level, np.full(len(where), spectra.ASPHALT))
            return BACKGROUND
