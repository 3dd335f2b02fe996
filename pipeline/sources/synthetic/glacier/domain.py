"""How a set of images is taken and mapped, and how much of each class an image has."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from pipeline.seeding import generator


@dataclass(frozen=True)
class Domain:
    """What may differ between the images of two regions or archives.

    Attributes:
        gain: factor of the reflective bands' digital numbers; they saturate at 1.1 reflectances of gain 1.
        snowline_m: height of the seasonal snow line against the usual one, metres.
        least_lake_px: water of fewer pixels is no lake.
        ponds: whether ponds on glaciers count as lakes (else they belong to the debris around them).
    """

    gain: float
    snowline_m: float
    least_lake_px: int
    ponds: bool


DOMAINS = {
    "target": Domain(gain=1.0, snowline_m=0.0, least_lake_px=3, ponds=True),
    "shifted": Domain(gain=1.3, snowline_m=-350.0, least_lake_px=12, ponds=False),
}

#: Shares of all pixels over a long series of images: all ice, the part of it under debris, lakes.
ICE_SHARE, DEBRIS_SHARE, LAKE_SHARE = 0.279, 0.049, 0.0005
#: Share of images without a lake.
LAKELESS = 0.22
#: Irrational steps of ice, debris and lakes: the golden ratio, and the roots of 2 and 3.
_STEPS = (0.6180339887498949, 0.4142135623730951, 0.7320508075688772)


@dataclass(frozen=True)
class Shares:
    """Shares of an image's pixels: ice with and without debris, debris-covered ice, lakes."""

    ice: float
    debris: float
    lake: float


def draw_shares(seed: int, image: int) -> Shares:
    """What image number `image` of a seed has; the means over few images are already near those of many.

    Each share follows a low-discrepancy sequence (multiples of an irrational number) through a quantile function.
    """
    ice_start, debris_start, lake_start = generator(seed, "glacier", "shares").random(3)
    ice = 0.10 + 0.358 * float(special.betaincinv(2.0, 2.0, _place(ice_start, image * _STEPS[0])))
    # The part of the ice under debris: lognormal with mean DEBRIS_SHARE / ICE_SHARE.
    spread = 0.45
    part = DEBRIS_SHARE / ICE_SHARE * _lognormal(_place(debris_start, image * _STEPS[1]), spread)
    lake_place = (_place(lake_start, image * _STEPS[2]) - LAKELESS) / (1 - LAKELESS)
    lake = 0.0 if lake_place <= 0 else LAKE_SHARE / (1 - LAKELESS) * _lognormal(lake_place, 0.6)
    return Shares(ice, ice * min(part, 0.45), lake)


def _place(start: float, step: float) -> float:
    return float(np.clip((start + step) % 1.0, 0.01, 0.99))


def _lognormal(place: float, spread: float) -> float:
    """The quantile of a lognormal variable of mean 1."""
    return float(np.exp(spread * special.ndtri(place) - spread**2 / 2))
