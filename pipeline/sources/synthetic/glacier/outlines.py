"""Outlines as a mapper draws them: about a pixel off along smooth lines, without specks, some small lakes missed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely.affinity
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import trace
from pipeline.seeding import generator
from pipeline.sources.synthetic.glacier.fields import smooth_field
from pipeline.sources.synthetic.glacier.ice import large_only
from pipeline.sources.synthetic.glacier.surface import BACKGROUND, CLASSES, DEBRIS, GLACIER, LAKE
from pipeline.sources.synthetic.glacier.terrain import PIXEL_M
from pipeline.types import BoolArray, UInt8Array

#: Length over which the error of a drawn line varies, in pixels.
_ERROR_SCALE_PX = 9.0
#: Corners nearer to the line than this are left out (metres).
_TOLERANCE_M = 14.0
#: Share of lakes under so many pixels that nobody saw; deviation of where lakes are drawn, in pixels and direction.
_MISSED, _SMALL_PX, _SHIFT_PX = 0.08, 8, 0.35


@dataclass(frozen=True)
class Pen:
    """How an area is drawn: deviation of its line, how far it is smoothed (pixels), and the least pixels drawn."""

    error_px: float
    blur_px: float
    least_px: int


ICE_PEN, DEBRIS_PEN = Pen(0.5, 0.7, 20), Pen(0.75, 0.9, 12)


@dataclass(frozen=True)
class Outline:
    """One drawn area in map coordinates, and its class."""

    class_name: str
    geometry: BaseGeometry


def draw_outlines(seed: int, image: int, classes: UInt8Array, grid: Grid) -> list[Outline]:
    """Outlines of an image's classes: glaciers whole, debris upon them, then lakes upon both."""
    rng = generator(seed, "glacier", image, "outlines")
    dry = _without_lakes(classes)
    ice = _redrawn(rng, dry != BACKGROUND, ICE_PEN)
    debris = _redrawn(rng, _ice_led_outwards(dry) == DEBRIS, DEBRIS_PEN) & ice
    drawn = [Outline(CLASSES[GLACIER], shape) for shape in _areas(ice, grid)]
    drawn += [Outline(CLASSES[DEBRIS], shape) for shape in _areas(debris, grid)]
    drawn += [Outline(CLASSES[LAKE], shape) for shape in _lakes(rng, classes == LAKE, grid)]
    return drawn


def _without_lakes(classes: UInt8Array) -> UInt8Array:
    """Classes with each lake given to the ground that is nearest to it."""
    _, (rows, cols) = ndimage.distance_transform_edt(classes == LAKE, return_indices=True)
    return np.asarray(classes[rows, cols])


def _ice_led_outwards(dry: UInt8Array) -> UInt8Array:
    """Classes with background given to the nearest ice, so that both kinds of ice end at the one outer line."""
    if (dry == BACKGROUND).all():
        return dry
    _, (rows, cols) = ndimage.distance_transform_edt(dry == BACKGROUND, return_indices=True)
    return np.asarray(dry[rows, cols])


def _redrawn(rng: np.random.Generator, mask: BoolArray, pen: Pen) -> BoolArray:
    """A mask with its line moved and smoothed, without specks and pinholes."""
    size = mask.shape[0]
    places = np.indices(mask.shape, dtype=np.float64)
    moved = [place + pen.error_px * smooth_field(rng, size, _ERROR_SCALE_PX) for place in places]
    soft = ndimage.gaussian_filter(mask.astype(np.float64), pen.blur_px, mode="nearest")
    drawn = ndimage.map_coordinates(soft, moved, order=1, mode="nearest") > 0.5
    return np.asarray(~large_only(~large_only(drawn, pen.least_px), pen.least_px))


def _areas(drawn: BoolArray, grid: Grid) -> Iterator[BaseGeometry]:
    for geometry, _ in trace(drawn.astype(np.uint8), grid, drawn):
        yield geometry.simplify(_TOLERANCE_M)


def _lakes(rng: np.random.Generator, lakes: BoolArray, grid: Grid) -> Iterator[BaseGeometry]:
    number, count = ndimage.label(lakes)
    sizes = np.bincount(number.ravel(), minlength=count + 1)
    seen, shift = rng.random(count + 1), _SHIFT_PX * PIXEL_M * rng.standard_normal((count + 1, 2))
    for geometry, lake in trace(number.astype(np.int32), grid, lakes):
        if sizes[lake] >= _SMALL_PX or seen[lake] >= _MISSED:
            yield shapely.affinity.translate(geometry, *shift[lake])
