"""The ground that may train: train blocks without the strip near held-out ground, of the same scene or another.

Distances run from pixel centre to pixel centre in metres on the ground. Held-out ground of another scene is looked up
on this scene's own pixels, also beyond its edges; where the two grids do not coincide, that shifts it by up to a
pixel's diagonal, which is taken off the distance. Pixels count as small as the smallest of the scene are on the ground
(in degrees, or over a tall scene, they vary). So the buffer is never narrower than declared.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy.ndimage import distance_transform_edt

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import create, describe
from pipeline.geo.windows import row_bands
from pipeline.paths import staged_folder
from pipeline.splits.folds import GROUND_HELD_BACK, GROUND_OUTSIDE, GROUND_TRAINS, Folds, Part
from pipeline.splits.pixel_size import least_pixel_m, most_pixel_m
from pipeline.types import BoolArray, UInt8Array, Window

#: Pixels whose distances are held at a time.
_BAND_PIXELS = 2_000_000

#: Both parts that training must not see.
HELD_OUT: tuple[Part, ...] = ("val", "test")

Grids = Sequence[tuple[str, Grid]]
Distances = npt.NDArray[np.float64]


def write_ground(split: Folds, scene_id: str, grids: Grids, folder: Path | None = None) -> None:
    """Write a scene's ground.tif, band by band; fold.tif of every scene must be there.

    Args:
        split: the split; its `val_fold` is held out and its `buffer_m` applied.
        scene_id: the scene.
        grids: id and grid of every scene of the store.
        folder: it goes into <id>/ of this folder; None puts it beside fold.tif.
    """
    grid = dict(grids)[scene_id]
    fold = split.fold_map(scene_id)
    with create((folder or split.folder) / scene_id / "ground.tif", grid, "uint8", ["ground"]) as writer:
        for window, distance in distances(split, scene_id, grids, HELD_OUT, split.buffer_m):
            train = split.mask(fold[window.slices], "train") & (distance > 0)
            values = np.where(train, np.where(distance > split.buffer_m, GROUND_TRAINS, GROUND_HELD_BACK),
                              GROUND_OUTSIDE)
            writer.write(values.astype(np.uint8), window)


def write_grounds(split: Folds, folder: Path) -> None:
    """Write ground.tif of every scene that a split has, into <id>/ of a folder that appears when all are there.

    Args:
        split: finished, with the val fold that is to be held out.
        folder: must not be there.
    """
    names = sorted(path.parent.name for path in split.folder.glob("*/fold.tif"))
    grids = tuple((name, describe(split.folder / name / "fold.tif").grid) for name in names)
    with staged_folder(folder) as staged:
        for name in names:
            write_ground(split, name, grids, staged)


def distances(split: Folds, scene_id: str, grids: Grids, parts: Sequence[Part],
              reach_m: float) -> Iterator[tuple[Window, Distances]]:
    """Row bands of the distance in metres to the nearest pixel of `parts` in any scene; inf beyond `reach_m`.

    Pixels of the parts themselves, and pixels on such ground of another scene, are at distance 0.
    """
    own = dict(grids)[scene_id]
    near = neighbours(scene_id, grids, reach_m)
    slack = max((slack_m(own, grid) for _, grid in near.askew), default=0.0)
    rows, cols = _margins(own, reach_m + slack)
    others = bool(near.aligned or near.askew)
    side = cols if others else 0
    for window in row_bands(own.height, own.width, max(rows, _BAND_PIXELS // own.width, 1)):
        top, bottom = window.row - rows, window.row + window.height + rows
        if not others:
            top, bottom = max(0, top), min(own.height, bottom)
        padded = Window(top, -side, bottom - top, own.width + 2 * side)
        inner = (slice(window.row - top, window.row - top + window.height), slice(side, side + own.width))
        seen = _shown(split, scene_id, own, padded, parts, (0, 0))
        for id_, grid in near.aligned:
            seen |= _shown(split, id_, grid, padded, parts, _offset(own, grid))
        measured = _measured(seen, own, reach_m)[inner]
        if near.askew:
            foreign = np.logical_or.reduce([_looked_up(split, i, grid, own, padded, parts) for i, grid in near.askew])
            far = _measured(foreign, own, reach_m + slack)[inner]
            measured = np.minimum(measured, np.where(far > 0, np.maximum(far - slack, 1e-9), 0))
        yield window, np.where(measured <= reach_m, measured, np.inf)


def _measured(seen: BoolArray, grid: Grid, reach_m: float) -> Distances:
    if reach_m <= 0 or not seen.any():
        return np.where(seen, 0.0, np.inf)
    pixel_width, pixel_height = least_pixel_m(grid)
    result: Distances = distance_transform_edt(~seen, sampling=(pixel_height, pixel_width))
    return result


def _any_of(split: Folds, fold: UInt8Array, parts: Sequence[Part]) -> BoolArray:
    mask: BoolArray = np.logical_or.reduce([split.mask(fold, part) for part in parts])
    return mask


def _shown(split: Folds, scene_id: str, grid: Grid, window: Window, parts: Sequence[Part],
           offset: tuple[int, int]) -> BoolArray:
    """Pixels of `parts` of a scene in a window (which may reach off it) counted from `offset` (row, col) in it."""
    seen = np.zeros((window.height, window.width), dtype=bool)
    row, col = window.row - offset[0], window.col - offset[1]
    top, bottom = max(0, row), min(grid.height, row + window.height)
    left, right = max(0, col), min(grid.width, col + window.width)
    if top < bottom and left < right:
        shown = _any_of(split, split.fold_map(scene_id)[top:bottom, left:right], parts)
        seen[top - row:bottom - row, left - col:right - col] = shown
    return seen


def _looked_up(split: Folds, other_id: str, other: Grid, own: Grid, window: Window,
               parts: Sequence[Part]) -> BoolArray:
    """Pixels of a window of `own` (which may reach off it) whose centre lies on ground of `parts` of another scene."""
    row, col = pixels_of(other, own, window)
    inside = (row >= 0) & (row < other.height) & (col >= 0) & (col < other.width)
    seen = np.zeros(inside.shape, dtype=bool)
    if inside.any():
        seen[inside] = _any_of(split, split.fold_map(other_id)[row[inside], col[inside]], parts)
    return seen


def pixels_of(other: Grid, own: Grid, window: Window) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row and column in `other` of every pixel centre of a window of `own`; -1 where there is no such place."""
    cols, rows = np.meshgrid(np.arange(window.col, window.col + window.width) + 0.5,
                             np.arange(window.row, window.row + window.height) + 0.5)
    row, col, known = seen_from(other, own, rows, cols)
    return (np.where(known, np.floor(row), -1).astype(np.int64), np.where(known, np.floor(col), -1).astype(np.int64))


def seen_from(other: Grid, own: Grid, row: Distances, col: Distances) -> tuple[Distances, Distances, BoolArray]:
    """Fractional rows and columns of `own` as rows and columns of `other`, and where there is such a place."""
    t, back = own.transform, ~other.transform
    x, y = t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
    if own.crs_wkt != other.crs_wkt:
        x, y = Transformer.from_crs(own.crs, other.crs, always_xy=True).transform(x, y)
    known = np.isfinite(x) & np.isfinite(y) & (np.maximum(np.abs(x), np.abs(y)) < 1e12)
    x, y = np.where(known, x, 0), np.where(known, y, 0)
    return back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c, known


def _near(own: Grid, other: Grid, margin_rows: int, margin_cols: int) -> bool:
    """May another scene reach into this one widened by the margins? Its outline is looked up in this grid."""
    top, bottom, left, right = extent(own, other)
    if not math.isfinite(top):
        return False
    slack = 2 + 0.01 * (max(bottom - top, right - left) if own.crs_wkt != other.crs_wkt else 0)  # edges bend
    return (bottom > -margin_rows - slack and top < own.height + margin_rows + slack
            and right > -margin_cols - slack and left < own.width + margin_cols + slack)


@dataclass(frozen=True)
class Neighbours:
    """Scenes that may show ground within a reach of a scene: with pixels that coincide with its own, and without.

    `inside_only`: none of them shows ground beyond the scene's edges.
    """

    aligned: tuple[tuple[str, Grid], ...]
    askew: tuple[tuple[str, Grid], ...]
    inside_only: bool


def neighbours(scene_id: str, grids: Grids, reach_m: float) -> Neighbours:
    """Which other scenes may show ground of a scene, or within `reach_m` of it."""
    own = dict(grids)[scene_id]
    rows, cols = _margins(own, reach_m)
    near = [(id_, grid) for id_, grid in grids if id_ != scene_id and _near(own, grid, rows, cols)]
    inside = True
    for _, grid in near:
        top, bottom, left, right = extent(own, grid)
        inside &= min(top, left, own.height - bottom, own.width - right) >= -1
    aligned = [slack_m(own, grid) == 0 for _, grid in near]
    return Neighbours(tuple(n for n, a in zip(near, aligned, strict=True) if a),
                      tuple(n for n, a in zip(near, aligned, strict=True) if not a), inside)


def _margins(grid: Grid, reach_m: float) -> tuple[int, int]:
    """Rows and columns that hold everything within a reach of a pixel."""
    width_m, height_m = least_pixel_m(grid)
    return math.ceil(reach_m / height_m) + 1, math.ceil(reach_m / width_m) + 1


def extent(own: Grid, other: Grid) -> tuple[float, float, float, float]:
    """Top, bottom, left and right of another scene's outline in this grid's pixels; far off where it has no place."""
    edge = np.linspace(0, 1, 65)
    u = np.concatenate([edge, edge, 0 * edge, 0 * edge + 1]) * other.width
    v = np.concatenate([0 * edge, 0 * edge + 1, edge, edge]) * other.height
    row, col, known = seen_from(own, other, v, u)
    if not known.any():
        return -math.inf, -math.inf, -math.inf, -math.inf
    row, col = row[known], col[known]
    return float(row.min()), float(row.max()), float(col.min()), float(col.max())


def _offset(own: Grid, other: Grid) -> tuple[int, int]:
    """Row and column in `own` of the first pixel of a scene whose pixels coincide with its own."""
    col, row = ~own.transform @ (other.transform.c, other.transform.f)
    return round(row), round(col)


def slack_m(own: Grid, other: Grid) -> float:
    """By how many metres looking up may shift ground: 0 where pixels coincide, else the larger diagonal."""
    a, b = own.transform, other.transform
    shift = ~a @ (b.c, b.f)
    same = (own.crs_wkt == other.crs_wkt and np.allclose((a.a, a.b, a.d, a.e), (b.a, b.b, b.d, b.e), rtol=1e-9)
            and all(abs(s - round(s)) < 1e-3 for s in shift))
    return 0.0 if same else max(math.hypot(*most_pixel_m(own)), math.hypot(*most_pixel_m(other)))
