"""Which neighbouring blocks may take a pixel's label by their buffer: a bit for each of the eight.

Blocks are at least two buffers wide but for those at a scene's edges, and beyond these there is no further block; so no
other block than the eight can reach a pixel. What remains of a train block is then a sum over its zones, whatever the
neighbours become.

Shape legend: B blocks (index = id - 1).
"""

from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
import numpy.typing as npt

from pipeline.geo.grid import Grid
from pipeline.splits.blocks import SceneBlocks
from pipeline.splits.buffer import Grids, neighbours, slack_m
from pipeline.splits.lattice import Cuts, parallel
from pipeline.splits.pixel_size import least_pixel_m, most_pixel_m
from pipeline.types import AnyArray, BoolArray, UInt8Array, Window

#: The neighbours in the order of their bits: row and column steps.
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))

#: A corner's neighbour reaches a pixel only where both of its sides do: all masks that occur, 0 (none) first.
MASKS = np.array(sorted(m for m in range(256) if all(
    not m >> bit & 1 or (m & _sides) == _sides
    for bit, _sides in ((4, 0b0101), (5, 0b1001), (6, 0b0110), (7, 0b1010)))), dtype=np.uint8)

_INDEX = np.zeros(256, dtype=np.int32)
_INDEX[MASKS] = np.arange(len(MASKS))


@dataclass(frozen=True)
class Reach:
    """How far buffers reach into a scene's blocks.

    `alone`: no scene shows ground beyond this one's edges. `shared`: another scene shows ground of this one or near it.
    `askew`: its pixels do not coincide with these, so that which block of it lies where is not told by this lattice.
    """

    metres: float
    alone: bool
    shared: bool
    askew: bool

    @classmethod
    def of(cls, scene_id: str, grids: Grids, buffer_m: float) -> "Reach":
        """What a scene must expect of its own blocks and of all others.

        Beside scenes whose pixels do not coincide it is longer: by what of their blocks may lie over the cuts, and by
        the diagonal by which the buffer itself is wider there.
        """
        near = neighbours(scene_id, grids, buffer_m)
        own = dict(grids)[scene_id]
        over = max((_over_m(own, grid) for _, grid in near.askew), default=0.0)
        slack = max((slack_m(own, grid) for _, grid in near.askew), default=0.0) if buffer_m > 0 else 0.0
        return cls(buffer_m + slack + over, near.inside_only, bool(near.aligned or near.askew), bool(near.askew))


def _over_m(own: Grid, other: Grid) -> float:
    """How far blocks of another scene may lie over cuts of this one without being one place: see `Blocks.places`."""
    sides = max(most_pixel_m(own)), max(most_pixel_m(other))
    return sum(sides) / 2 if parallel(own, other) else 2 * max(sides)


def zone_of(laid: SceneBlocks, window: Window, reach_m: float) -> npt.NDArray[np.int32]:
    """Index in MASKS of every pixel of a window, int32 HW: which neighbours lie within `reach_m` (centre to centre)."""
    width_m, height_m = least_pixel_m(laid.grid)
    up, down = (m * height_m for m in _to_neighbours(laid.lattice.rows, window.row, window.height))
    left, right = (m * width_m for m in _to_neighbours(laid.lattice.cols, window.col, window.width))
    row_bits = (up <= reach_m) * np.uint8(1) + (down <= reach_m) * np.uint8(2)
    col_bits = (left <= reach_m) * np.uint8(4) + (right <= reach_m) * np.uint8(8)
    mask: UInt8Array = np.bitwise_or(row_bits[:, None], col_bits[None]).astype(np.uint8)
    for bit, (rows, cols) in zip((16, 32, 64, 128), product((up, down), (left, right)), strict=True):
        r, c = np.flatnonzero(rows <= reach_m), np.flatnonzero(cols <= reach_m)
        mask[np.ix_(r, c)] |= (np.hypot(rows[r][:, None], cols[c]) <= reach_m) * np.uint8(bit)
    zones: npt.NDArray[np.int32] = _INDEX[mask]
    return zones


def _to_neighbours(cuts: Cuts, start: int, length: int) -> tuple[AnyArray, AnyArray]:
    """Pixels from each position to the nearest of the pieces before and after its own."""
    positions, piece = np.arange(start, start + length), cuts.pieces(start, length)
    return positions - cuts.edges[piece] + 1, cuts.edges[piece + 1] - positions


def neighbour_table(laid: SceneBlocks, reach: Reach, blocks: int) -> npt.NDArray[np.int32]:
    """The neighbours of a scene's blocks in the order of bits, B8: index, `blocks` = nothing, `blocks` + 1 = held out.

    What cannot be told from this scene alone is taken for held out: ground beyond its edges or its valid pixels that
    another scene may show, and all neighbours where others lie askew.
    """
    padded = np.full((laid.ids.shape[0] + 2, laid.ids.shape[1] + 2), blocks + (0 if reach.alone else 1), dtype=np.int32)
    padded[1:-1, 1:-1] = np.where(laid.ids > 0, laid.ids - 1, blocks + (1 if reach.shared else 0))
    r, c = np.nonzero(laid.ids)
    table = np.stack([padded[r + 1 + down, c + 1 + right] for down, right in _STEPS], axis=1)
    return np.where(table < blocks, blocks + 1, table).astype(np.int32) if reach.askew else table


def held_bits(held_out: BoolArray, table: npt.NDArray[np.int32]) -> UInt8Array:
    """Which neighbours of each block are held out, as bits, B; `held_out` is bool B, `table` as `neighbour_table`."""
    known = np.concatenate([held_out, [False, True]])[table]
    return reduce(np.bitwise_or, (known[:, bit].astype(np.uint8) << np.uint8(bit) for bit in range(len(_STEPS))))
