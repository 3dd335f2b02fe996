"""Least distance between written train and held-out ground, by another way than the buffer was made.

The buffer is a distance transform on a scene's own pixels. Here the centres of the boundary pixels of both grounds are
put into space (geocentric, WGS 84) and the nearest pair is found in a tree, over all scenes; no pixel of a boundary is
left out, so nothing hides between samples. Ground that two scenes show is looked up besides: where one scene trains
inside held-out ground of another, the distance is 0.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from pipeline.geo.grid import Grid
from pipeline.geo.windows import row_bands
from pipeline.splits.buffer import HELD_OUT, Grids, extent, neighbours, seen_from
from pipeline.splits.pixel_size import least_pixel_m
from pipeline.splits.sample import Sample, positions_m
from pipeline.splits.split import GROUND_TRAINS, Part, Split
from pipeline.types import AnyArray, BoolArray, Window

#: Pixels whose boundaries are held at a time.
_BAND_PIXELS = 1_000_000

#: Radius by which straight distances become those along the ground, in metres.
_EARTH_M = 6_371_000.0

Pixels = npt.NDArray[np.int64]


def least_gaps(split: Split, scene_id: str, grids: Grids, reach_m: float) -> dict[Part, float]:
    """Metres from ground of a scene that trains to the nearest val and test pixel of any scene, centre to centre.

    inf where there is none within `reach_m`. Boundary pixels of a row band are held at a time.
    """
    own, ground = dict(grids)[scene_id], split.ground_map(scene_id)
    near = neighbours(scene_id, grids, reach_m)
    others = [*near.aligned, *near.askew]
    margin = math.ceil(reach_m / least_pixel_m(own)[1]) + 2
    least: dict[Part, float] = dict.fromkeys(HELD_OUT, _chord(reach_m) * (1 + 1e-9))
    found: dict[Part, bool] = dict.fromkeys(HELD_OUT, False)
    for band in row_bands(own.height, own.width, max(1, margin, _BAND_PIXELS // own.width)):
        trains = _boundary(ground, own, band, lambda values: values == GROUND_TRAINS)
        windows = [(scene_id, own, _clip(own, Window(band.row - margin, 0, band.height + 2 * margin, own.width)))]
        windows += [(id_, grid, _around(own, grid, band, reach_m)) for id_, grid in others]
        for part in HELD_OUT:
            for id_, grid, window in windows:
                held = _held_boundary(split, id_, grid, window, part)
                if not len(held):
                    continue
                candidates = trains
                if id_ != scene_id:
                    candidates = np.concatenate([trains, _trains_under(held, grid, own, ground)])
                    if _any_inside(split, id_, grid, own, candidates, part):
                        least[part], found[part] = 0.0, True
                        continue
                gap = _nearest(_xyz(own, candidates), _xyz(grid, held), least[part])
                if gap < least[part]:
                    least[part], found[part] = gap, True
    return {part: _arc(least[part]) if found[part] else math.inf for part in HELD_OUT}


def _boundary(values: AnyArray, grid: Grid, window: Window, inside: Callable[[AnyArray], BoolArray]) -> Pixels:
    """Rows and columns of the pixels of a window that a rule chooses and that have a neighbour it does not, N2."""
    top, bottom = max(0, window.row - 1), min(grid.height, window.row + window.height + 1)
    left, right = max(0, window.col - 1), min(grid.width, window.col + window.width + 1)
    if top >= bottom or left >= right:
        return np.zeros((0, 2), dtype=np.int64)
    chosen = np.pad(inside(values[top:bottom, left:right]), 1)
    inner = chosen[:-2, 1:-1] & chosen[2:, 1:-1] & chosen[1:-1, :-2] & chosen[1:-1, 2:]
    pixels = np.argwhere(chosen[1:-1, 1:-1] & ~inner) + np.array([top, left])
    last = (window.row + window.height, window.col + window.width)
    within: Pixels = pixels[((pixels >= (window.row, window.col)) & (pixels < last)).all(axis=1)]
    return within


def _held_boundary(split: Split, scene_id: str, grid: Grid, window: Window, part: Part) -> Pixels:
    found = [_boundary(split.fold_map(scene_id), grid, Window(window.row + b.row, window.col, b.height, window.width),
                       lambda values: split.mask(values, part))
             for b in row_bands(window.height, window.width, max(1, _BAND_PIXELS // max(1, window.width)))]
    return np.concatenate([np.zeros((0, 2), dtype=np.int64), *found])


def _clip(grid: Grid, window: Window) -> Window:
    top, left = max(0, window.row), max(0, window.col)
    bottom, right = min(grid.height, window.row + window.height), min(grid.width, window.col + window.width)
    return Window(top, left, max(0, bottom - top), max(0, right - left))


def _around(own: Grid, other: Grid, band: Window, reach_m: float) -> Window:
    """The window of another scene that holds a band of this one and all within reach of it."""
    top, bottom, left, right = extent(other, own.crop(band))
    if not math.isfinite(top):
        return Window(0, 0, 0, 0)
    bend = 0.01 * max(bottom - top, right - left) if own.crs_wkt != other.crs_wkt else 0.0
    width_m, height_m = least_pixel_m(other)
    rows, cols = reach_m / height_m + bend + 2, reach_m / width_m + bend + 2
    first, start = math.floor(top - rows), math.floor(left - cols)
    return _clip(other, Window(first, start, math.ceil(bottom + rows) - first, math.ceil(right + cols) - start))


def _pixels_under(pixels: Pixels, grid: Grid, other: Grid) -> tuple[Pixels, BoolArray]:
    """The pixels of another grid that hold the centres of pixels of a grid, N2, and which of them lie in it, N."""
    centres = pixels.astype(np.float64) + 0.5
    row, col, known = seen_from(other, grid, centres[:, 0], centres[:, 1])
    inside = known & (row >= 0) & (row < other.height) & (col >= 0) & (col < other.width)
    return np.stack([np.floor(row), np.floor(col)], axis=1).astype(np.int64), inside


def _trains_under(held: Pixels, grid: Grid, own: Grid, ground: AnyArray) -> Pixels:
    """Pixels of a scene that train and hold the centre of a held-out boundary pixel of another."""
    pixels, inside = _pixels_under(held, grid, own)
    pixels = pixels[inside]
    trains: Pixels = pixels[ground[pixels[:, 0], pixels[:, 1]] == GROUND_TRAINS]
    return trains


def _any_inside(split: Split, other_id: str, other: Grid, own: Grid, trains: Pixels, part: Part) -> bool:
    """Does any of a scene's pixels lie, by its centre, on ground of a part of another scene?"""
    pixels, inside = _pixels_under(trains, own, other)
    pixels = pixels[inside]
    return bool(split.mask(split.fold_map(other_id)[pixels[:, 0], pixels[:, 1]], part).any())


def _xyz(grid: Grid, pixels: Pixels) -> npt.NDArray[np.float64]:
    return positions_m([grid], Sample(np.zeros(len(pixels), dtype=np.intp), pixels[:, 0], pixels[:, 1]))


def _nearest(points: npt.NDArray[np.float64], others: npt.NDArray[np.float64], below: float) -> float:
    """Least distance between two sets of points where it is below a bound, else the bound."""
    tree = KDTree(others, balanced_tree=False, compact_nodes=False)
    for start in range(0, len(points), 4096):  # the bound shrinks on the way, which makes all but the first cheap
        below = min(below, float(tree.query(points[start:start + 4096], distance_upper_bound=below)[0].min()))
    return below


def _chord(metres: float) -> float:
    return 2 * _EARTH_M * math.sin(min(metres / (2 * _EARTH_M), math.pi / 2))


def _arc(chord_m: float) -> float:
    return 2 * _EARTH_M * math.asin(min(1.0, chord_m / (2 * _EARTH_M)))
