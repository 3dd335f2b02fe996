"""Warps: albumentations draws them and applies them to a field of coordinates, through which a patch is read once.

So any number of channels can be warped, several warps blur no more than one, and what may not be interpolated (labels,
weights, validity) follows exactly. Albumentations itself would mix undefined values in, and takes floats for shares
from 0 to 1.

Channels are warped after they were computed: an index is interpolated like a band, and a texture stays that of the
ground before it was warped, at its scale and in its directions.

Shape legend: C channels, H rows, W columns.
"""

import math
import os
import random
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from pipeline.params.augment import AugmentParams
from pipeline.patches.augment.pixels import Pixels
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, FloatArray

#: A coordinate that stays far outside however it is interpolated with one that is inside.
_OUTSIDE = -1e6
#: Coordinates are rounded to 1 / this of a pixel, as OpenCV does on some paths and not on others.
_STEPS = 32
#: OpenCV reads at most this many channels at a time by the same path everywhere.
_CHANNELS = 4
#: Cells of the distorted grid along a side.
_GRID_CELLS = 5


def coordinates(params: AugmentParams, size: int, rng: np.random.Generator) -> FloatArray:
    """Where each pixel of a warped patch is read: columns and rows, float32 2HW, in 32nds of a pixel.

    Anything outside [0, size - 1] is off the patch. Affine first, then elastic, then grid distortion, each with
    generators of its own seeded from `rng`.
    """
    line = np.arange(size, dtype=np.float32)
    field: FloatArray = np.stack(np.meshgrid(line, line), axis=-1)
    for transform in _transforms(params, size):
        transform.set_random_state(np.random.Generator(np.random.PCG64(rng.integers(2**63))),
                                   random.Random(int(rng.integers(2**63))))
        field = transform(image=field)["image"]
    steps = np.clip(np.moveaxis(field, -1, 0), -2, size + 1, order="C") * np.float32(_STEPS)
    return np.asarray(np.rint(steps) / np.float32(_STEPS))


@cache
def _transforms(params: AugmentParams, size: int) -> tuple[Any, ...]:
    """Albumentations' transforms for a patch of that size; importing them takes seconds."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the network for a newer version
    import albumentations
    import cv2

    cv2.setNumThreads(1)  # patches are cut by one process each
    options: dict[str, Any] = {"interpolation": cv2.INTER_LINEAR, "border_mode": cv2.BORDER_CONSTANT, "fill": _OUTSIDE,
                               "p": 1.0}
    found = []
    if params.shift or params.scale or params.rotate_deg:
        zoom = 1 + params.scale
        found.append(albumentations.Affine(
            translate_percent=(-params.shift, params.shift), scale=(1 / zoom, zoom), balanced_scale=params.scale > 0,
            rotate=(-params.rotate_deg, params.rotate_deg), keep_ratio=True, **options))
    if params.elastic_px:
        found.append(albumentations.ElasticTransform(alpha=_elastic_alpha(params, size),
                                                     sigma=params.elastic_smooth_px, **options))
    if params.grid_distortion:
        found.append(albumentations.GridDistortion(num_steps=_GRID_CELLS, distort_limit=params.grid_distortion,
                                                   normalized=True, **options))
    return tuple(found)


def _elastic_alpha(params: AugmentParams, size: int) -> float:
    """The alpha that gives displacements of that standard deviation.

    The transform divides white noise by its greatest value, smooths it, which leaves 1 / (2 sqrt(pi) sigma) of its
    deviation, and multiplies it by alpha (Simard et al. 2003).
    """
    greatest = NormalDist().inv_cdf(1 - 0.28 / (2 * size * size))
    return params.elastic_px * 2 * math.sqrt(math.pi) * params.elastic_smooth_px * greatest


def warped(pixels: Pixels, field_2HW: FloatArray) -> Pixels:
    """The pixels read at these coordinates: image bilinear, labels and weights from the nearest pixel.

    A pixel is visible only if all pixels that weigh in it are visible and inside; a channel is defined there only if
    it is in all of them, and a pixel at which none is defined is not visible. The label is 255 wherever a pixel is not
    visible or its nearest pixel has no label.
    """
    size = len(pixels.visible)
    undefined, hidden = np.isnan(pixels.image), ~pixels.visible
    filled = pixels.image.copy()
    np.copyto(filled, 0, where=undefined)
    image = _read(filled, field_2HW)
    visible = ~_touched(hidden, field_2HW)
    if np.count_nonzero(undefined) > image.shape[-1] * np.count_nonzero(hidden):
        for channel in range(image.shape[-1]):
            image[..., channel][_touched(undefined[..., channel], field_2HW)] = np.nan
        visible &= ~np.isnan(image).all(axis=-1)
    image[~visible] = np.nan
    col, row = np.clip(np.rint(field_2HW), 0, size - 1).astype(np.intp)
    nearest = row * size + col
    labels = np.where(visible, pixels.labels.take(nearest), np.uint8(IGNORE_INDEX))
    weight = np.where(labels == IGNORE_INDEX, np.float32(0), pixels.weight.take(nearest))
    return Pixels(image, visible, labels, weight)


def _touched(flags_HW: BoolArray, field_2HW: FloatArray) -> BoolArray:
    """Whether a flagged pixel, or one outside, weighs in what is read there."""
    import cv2

    flags: AnyArray = flags_HW.astype(np.float32)
    cols: AnyArray
    rows: AnyArray
    cols, rows = field_2HW
    share = cv2.remap(flags, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
    return np.asarray(share > 0)


def _read(image_HWC: FloatArray, field_2HW: FloatArray) -> FloatArray:
    """Channels read at these coordinates; of no meaning outside."""
    import cv2

    result = np.empty_like(image_HWC)
    cols: AnyArray
    rows: AnyArray
    cols, rows = field_2HW
    for first in range(0, image_HWC.shape[-1], _CHANNELS):
        part: AnyArray = np.ascontiguousarray(image_HWC[..., first:first + _CHANNELS])
        read = cv2.remap(part, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        result[..., first:first + _CHANNELS] = read.reshape(part.shape)
    return result
