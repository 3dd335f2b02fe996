"""Landmarks of a scene: pixels that a copy of the picture has too, wherever it lies, and what their surroundings show.

A landmark is the highest pixel within some distance in the relief of the bands' sum: four times a pixel less its four
neighbours. Relief and landmark follow from the pixels around alone, bit by bit, so a picture shifted by any number of
pixels keeps them, as it does under one gain and offset for all bands (winnowing after Schleimer, Wilkerson & Aiken
2003, in two dimensions). No two landmarks are nearer than the distance.

Shape legend: H rows, W columns, N landmarks, B bands.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import maximum_filter

from pipeline.geo.windows import flat_bands
from pipeline.scenes.store import Scene, SceneStore
from pipeline.types import AnyArray, BoolArray, FloatArray

#: Cells along the side of a signature; sides of windows are multiples of it.
CELLS = 8

#: Rows by which a scene's bands are scaled, and pixels worked on at a time.
_SCALE_ROWS, _BAND_PIXELS = 64, 1_000_000

#: Rounding of float32: what differs by less of a value does not differ; the relief adds up several.
_ROUNDING, _RELIEF_ROUNDING = 4 * 2.0**-23, 4e-6

#: Share of a window's pixels that must stand out in the relief for it to have texture.
TEXTURE = 0.25

#: Constant, and linear along rows and columns, on the cells of a signature; orthonormal.
_PLANE = np.linalg.qr(np.stack([np.ones(CELLS**2), *np.indices((CELLS, CELLS)).reshape(2, -1)], axis=1))[0]

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """Rows `first` to `last` of a scene, and the array rows `top` onwards that hold them with a margin around.

    `sums` are the bands' weighted sums (float32 HW), `textured` is where their relief is more than rounding, `valid`
    where there is data.
    """

    top: int
    first: int
    last: int
    textured: BoolArray
    valid: BoolArray
    sums: FloatArray

    @property
    def rows(self) -> slice:
        """The strip's own rows, in the arrays."""
        return slice(self.first - self.top, self.last - self.top)


def band_weights(store: SceneStore) -> Vector:
    """1 / the mean absolute detail of each band (differences of neighbours less their mean), 0 for bands without."""
    weight = np.zeros(len(store.bands))
    for b in range(len(weight)):
        deviation, size, pairs = 0.0, 0.0, 0
        for scene in store:
            rows = np.unique(np.linspace(0, scene.grid.height - 1, _SCALE_ROWS).astype(np.intp))
            values = np.where(scene.valid[rows] > 0, scene.image[rows, :, b], np.nan).astype(np.float64)
            values[~np.isfinite(values)] = np.nan
            differences = np.diff(values, axis=1)
            known = differences[~np.isnan(differences)]
            deviation += float(np.abs(known - known.mean()).sum()) if known.size else 0.0
            pairs += known.size
            size = max(size, float(np.nanmax(np.abs(values), initial=0)))
        mean = deviation / max(pairs, 1)
        weight[b] = 1 / mean if mean > _ROUNDING * size else 0
    return weight


def strips(scene: Scene, weights: Vector, side: int) -> Iterator[Strip]:
    """A scene from top to bottom, with the margin that windows of `side` pixels around its landmarks need."""
    for band in flat_bands(*scene.grid.shape, _BAND_PIXELS):
        top, last = max(0, band.row - side), band.row + band.height
        rows = slice(top, min(scene.grid.height, last + side))
        valid = scene.valid[rows] > 0
        sums = np.zeros(valid.shape, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # where there is no data
            for b in np.flatnonzero(weights):
                sums += scene.image[rows, :, b].astype(np.float32) * np.float32(weights[b])
        valid &= np.isfinite(sums)
        yield Strip(top, band.row, last, _textured(sums, valid), valid, sums)


def _relief(sums: FloatArray) -> FloatArray:
    relief = np.zeros_like(sums)
    relief[1:-1, 1:-1] = (4 * sums[1:-1, 1:-1] - sums[:-2, 1:-1] - sums[2:, 1:-1] - sums[1:-1, :-2] - sums[1:-1, 2:])
    return relief


def _textured(sums: FloatArray, valid: BoolArray) -> BoolArray:
    """Where the relief is more than rounding; nowhere beside a pixel that is not valid."""
    with np.errstate(invalid="ignore", over="ignore"):
        stands_out: BoolArray = np.abs(_relief(np.where(valid, sums, np.nan))) > _RELIEF_ROUNDING * np.abs(sums)
    return stands_out


def landmarks(strip: Strip, distance: int) -> tuple[AnyArray, AnyArray]:
    """Rows (in the strip's arrays) and columns of the landmarks in the strip's own rows, in their order."""
    relief = np.where(strip.textured, _relief(np.where(strip.valid, strip.sums, 0)), 0)
    highest = (relief > 0) & (relief == maximum_filter(relief, 2 * distance + 1, mode="constant"))
    # Of equals within the distance only the first, row by row, can be one.
    table = _table(np.pad(highest, distance))
    row, col = np.nonzero(highest[strip.rows])
    row += strip.rows.start
    width = 2 * distance + 1
    before = (_inside(table, row, col, distance, width)
              + _inside(table, row + distance, col, 1, distance))
    return row[before == 0], col[before == 0]


def _table(mask: BoolArray) -> npt.NDArray[np.int32]:
    """Summed-area table of a mask."""
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int32)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int32), axis=1, out=table[1:, 1:])
    return table


def _inside(table: AnyArray, row: AnyArray, col: AnyArray, height: int, width: int) -> AnyArray:
    """How many pixels of the mask lie in each window with that upper left corner."""
    return np.asarray(table[row + height, col + width] - table[row, col + width] - table[row + height, col]
                      + table[row, col])


def share_inside(mask: BoolArray, row: AnyArray, col: AnyArray, side: int) -> Vector:
    """Share of each window (upper left corner, N) that lies in a mask, 0 to 1."""
    return np.asarray(sliding_window_view(mask, (side, side))[row, col].mean(axis=(1, 2)))


def signatures(strip: Strip, row: AnyArray, col: AnyArray, side: int) -> FloatArray:
    """What windows (upper left corners, N) look like in 8 x 8 cells, float32 N x 64 of mean 0 and length 1.

    Cells' means less the plane through them, by rank: a slope, or a few bright pixels, make no two windows alike.
    """
    cell = side // CELLS
    sums = np.where(strip.valid, strip.sums, 0)
    height, width = sums.shape[0] - cell + 1, sums.shape[1] - cell + 1
    along = sum((sums[:, i:i + width] for i in range(1, cell)), sums[:, :width])
    cells = sum((along[i:i + height] for i in range(1, cell)), along[:height])
    at = np.arange(CELLS) * cell
    found = cells[row[:, None, None] + at[:, None], col[:, None, None] + at].reshape(-1, CELLS**2).astype(np.float64)
    found -= found.mean(axis=1, keepdims=True)
    found -= (found @ _PLANE) @ _PLANE.T
    found = np.round(found / np.maximum(np.abs(found).max(axis=1, keepdims=True), 1e-30), 6)  # equals stay equal
    rank = np.argsort(np.argsort(found, axis=1, kind="stable"), axis=1).astype(np.float32)
    rank -= (CELLS**2 - 1) / 2
    return rank / np.float32(np.sqrt((CELLS**4 - 1) * CELLS**2 / 12))
