"""Sunlight on a surface: by its slope and aspect, cast shadows, and light of the sky."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.sources.synthetic.glacier.fields import FloatArray
from pipeline.sources.synthetic.glacier.terrain import PIXEL_M


@dataclass(frozen=True)
class Sun:
    """Height above the horizon and direction it comes from (clockwise from north), in radians."""

    elevation: float
    azimuth: float


def incidence(height_m: FloatArray, sun: Sun) -> FloatArray:
    """Cosine of the angle between the sun and the surface's normal, 0 where it is turned away."""
    down, right = np.gradient(height_m, PIXEL_M)
    north, east = np.cos(sun.azimuth), np.sin(sun.azimuth)
    # Rows run south: a surface that rises with rows faces north.
    facing = np.cos(sun.elevation) * (down * north - right * east) + np.sin(sun.elevation)
    return np.asarray(np.clip(facing / np.sqrt(1 + down**2 + right**2), 0, 1))


def lit(height_m: FloatArray, sun: Sun) -> FloatArray:
    """Share of a pixel that sees the sun, 0 to 1: its height against the highest ray that ground sunwards blocks.

    The horizon is found in steps of doubling length, so that 2^n pixels take n steps.
    """
    towards = np.array([-np.cos(sun.azimuth), np.sin(sun.azimuth)])
    fall = np.tan(sun.elevation) * PIXEL_M
    blocked = _moved(height_m, towards) - fall
    length = 1
    while length < 128:
        blocked = np.maximum(blocked, _moved(blocked, towards * length) - fall * length)
        length *= 2
    return np.asarray(np.clip((height_m - blocked) / 12 + 0.5, 0, 1))


def _moved(values: FloatArray, by_px: np.ndarray) -> FloatArray:
    """What lies `by_px` (rows, columns) away from each pixel; the border's value beyond the border."""
    return np.asarray(ndimage.shift(values, -by_px, order=1, mode="nearest"))
