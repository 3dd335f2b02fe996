"""Kinds of ground finer than the classes, for reporting where a model errs."""

import numpy as np

from pipeline.sources.synthetic.glacier.ice import inner
from pipeline.sources.synthetic.glacier.surface import LAKE, Surface
from pipeline.types import UInt8Array

#: Names of codes from 1 on; 0 is outside.
STRATA = ("rock", "loose_ground", "snow_on_rock", "bare_ice", "snow_on_ice", "thin_debris", "thick_debris",
          "proglacial_lake", "pond", "tarn", "other_water")
_ROCK, _LOOSE, _SNOW, _ICE, _SNOWY_ICE, _THIN, _THICK, _PROGLACIAL, _POND, _TARN, _OTHER = range(1, len(STRATA) + 1)
#: Debris from this thickness on is as warm as rock, within some tenths of their difference from ice.
THICK = 2.2


def strata_of(surface: Surface) -> UInt8Array:
    """The stratum of each pixel of an image, without its margin."""
    snowy = surface.snow > 0.5
    on_ice = np.where(surface.debris > 0, np.where(surface.debris >= THICK, _THICK, _THIN),
                      np.where(snowy, _SNOWY_ICE, _ICE))
    off_ice = np.where(snowy, _SNOW, np.where(surface.loose > 0.5, _LOOSE, _ROCK))
    strata = np.where(surface.ice.mask, on_ice, off_ice).astype(np.uint8)
    kinds = {"proglacial": _PROGLACIAL, "pond": _POND, "tarn": _TARN}
    for lake in surface.lakes:
        counts = (surface.classes.ravel()[lake.pixels] == LAKE).all()
        strata.ravel()[lake.pixels] = kinds[lake.kind] if counts else _OTHER
    return np.asarray(inner(strata))
