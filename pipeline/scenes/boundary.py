"""Pixel confidence by distance to the nearest label boundary, where outlines are least to be trusted.

Shape legend: H rows, W columns.
"""

import math

import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.types import FloatArray, UInt8Array


def halo_px(pixel_m: tuple[float, float], ramp_m: float) -> int:
    """Pixels a window must reach beyond its own on each side, so that windows give what the whole raster gives."""
    return math.ceil(ramp_m / min(pixel_m) + 0.5)


def ramp(labels_HW: UInt8Array, pixel_m: tuple[float, float], ramp_m: float) -> FloatArray:
    """Factor of each pixel's weight: from near 0 at a boundary to 1 at `ramp_m` metres from it, float32 HW.

    The boundary runs half a pixel before the nearest pixel (centre to centre) of any other id, unlabelled ground
    (255) included; the edge of the array is none. The factor is that distance / `ramp_m`, at most 1, and never 0.

    Args:
        labels_HW: class ids, with a halo of `halo_px` around the pixels that are wanted, where the scene goes on.
        pixel_m: width and height of a pixel in metres on the ground.
        ramp_m: metres over which the factor rises; 0 gives 1 everywhere.
    """
    factor: FloatArray = np.ones(labels_HW.shape, dtype=np.float32)
    ids = np.flatnonzero(np.bincount(labels_HW.ravel(), minlength=256))
    if ramp_m == 0 or len(ids) < 2:
        return factor
    width, height = pixel_m
    half = 0.5 * min(width, height)
    for class_id in ids:
        own = labels_HW == class_id
        rows, cols = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        # The ring around the class's box is foreign, so no nearer foreign pixel lies beyond it.
        box = (slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, cols[0] - 1), cols[-1] + 2))
        inside = own[box]
        distance = distance_transform_edt(inside, sampling=(height, width)) - half
        factor[box][inside] = np.minimum(distance[inside] / ramp_m, 1)
    return factor
