"""Lattices of square cells anchored in a CRS: where they cut the rows and columns of a scene.

Cells are counted from multiples of their side in CRS coordinates, not from a scene's corner, so scenes that show the
same ground cut it alike: two dates shifted by some pixels have their blocks in common. Scenes that overlap, directly
or through others, in one CRS with parallel axes share one lattice. Its cells are whole pixels of the first of them; a
pixel of another belongs to the cell that holds its centre, so that cuts of scenes of another phase or pixel size lie
up to half a pixel apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.geo.grid import Grid

IntArray = npt.NDArray[np.int64]

#: A piece of a cell at a scene's edge joins its neighbour where it is less than this part of the cell wide.
_THIN = 0.25


@dataclass(frozen=True)
class Axis:
    """The rows or columns of a grid along their own direction: pixel j lies from origin + j step to the next one."""

    origin: float
    step: float
    count: int

    @property
    def ends(self) -> tuple[float, float]:
        """Least and greatest coordinate."""
        far = self.origin + self.step * self.count
        return min(self.origin, far), max(self.origin, far)

    def cells(self, side: float, phase: float) -> IntArray:
        """Number of the cell that holds each pixel's centre."""
        centres = self.origin - phase + self.step * (np.arange(self.count) + 0.5)
        return np.asarray(np.floor(centres / side), dtype=np.int64)


@dataclass(frozen=True)
class Cuts:
    """An axis of N pixels cut into pieces.

    Attributes:
        edges: first pixel of each piece, and N.
        first: least cell of each piece.
        last: greatest cell of each piece; several where a thin piece has joined its neighbour.
    """

    edges: IntArray
    first: IntArray
    last: IntArray

    def pieces(self, start: int, length: int) -> IntArray:
        """The piece of each of `length` pixels from `start` on."""
        return np.searchsorted(self.edges, np.arange(start, start + length), side="right") - 1

    def links(self) -> tuple[IntArray, IntArray]:
        """Pairs of a piece and a cell it lies in."""
        spans = [np.arange(a, b + 1) for a, b in zip(self.first, self.last, strict=True)]
        return np.repeat(np.arange(len(spans)), [len(s) for s in spans]), np.concatenate(spans)


@dataclass(frozen=True)
class SceneLattice:
    """How a scene is cut: its cluster (scenes that share a lattice), pixels of a cell, rows and columns."""

    cluster: int
    height_px: int
    width_px: int
    rows: Cuts
    cols: Cuts


def lay_lattices(grids: Sequence[Grid], block_size_m: float) -> list[SceneLattice]:
    """Cut every grid into cells of about `block_size_m` on the ground.

    A cell is at least a pixel of the coarsest scene of its lattice.

    Raises:
        SceneError: a grid has no CRS, so that metres mean nothing.
    """
    cluster = _clusters(grids)
    laid: dict[int, SceneLattice] = {}
    for c in np.unique(cluster):
        members = [i for i in range(len(grids)) if cluster[i] == c]
        first = grids[members[0]]
        cuts = []
        for axis, ground_m in ((0, first.ground_pixel_m[1]), (1, first.ground_pixel_m[0])):
            axes = {i: axes_of(grids[i])[axis] for i in members}
            pixel = abs(axes[members[0]].step)
            coarsest = max(abs(a.step) for a in axes.values())
            side = pixel * max(1, round(block_size_m / ground_m), math.ceil(coarsest / pixel - 1e-6))
            turns = axes[members[0]].origin / pixel
            cuts.append((side, _cut_all(axes, side, (turns - round(turns)) * pixel)))
        for i in members:
            (height, rows), (width, cols) = cuts
            pixel_width, pixel_height = grids[i].pixel_size
            laid[i] = SceneLattice(int(c), round(height / pixel_height), round(width / pixel_width), rows[i], cols[i])
    return [laid[i] for i in range(len(grids))]


def axes_of(grid: Grid) -> tuple[Axis, Axis]:
    """The rows' and the columns' axis, both directed towards growing coordinates."""
    t = grid.transform
    first_col, first_row = ~Affine(t.a, t.b, 0, t.d, t.e, 0) @ (t.c, t.f)
    pixel_width, pixel_height = grid.pixel_size
    along_cols = math.copysign(pixel_width, t.a if abs(t.a) >= abs(t.d) else t.d)
    along_rows = math.copysign(pixel_height, t.e if abs(t.e) >= abs(t.b) else t.b)
    return (Axis(along_rows * first_row, along_rows, grid.height), Axis(along_cols * first_col, along_cols, grid.width))


def _clusters(grids: Sequence[Grid]) -> npt.NDArray[np.intp]:
    pairs = [(i, j) for i in range(len(grids)) for j in range(i) if _share_lattice(grids[i], grids[j])]
    a, b = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    links = coo_array((np.ones(len(a)), (a, b)), shape=(len(grids), len(grids)))
    _, cluster = connected_components(links, directed=False)
    return np.asarray(cluster, dtype=np.intp)


def parallel(one: Grid, other: Grid) -> bool:
    """Do two grids have one CRS, and do their rows and columns run alike?"""
    if one.crs_wkt != other.crs_wkt and one.crs != other.crs:
        return False
    (pw, ph), (qw, qh) = one.pixel_size, other.pixel_size
    s, t = one.transform, other.transform
    return max(abs(s.a * t.d - s.d * t.a) / (pw * qw), abs(s.b * t.e - s.e * t.b) / (ph * qh)) < 1e-9


def _share_lattice(one: Grid, other: Grid) -> bool:
    """Do two grids in one CRS and with parallel axes overlap by more than half a pixel?"""
    if not parallel(one, other):
        return False
    for a, b in zip(axes_of(one), axes_of(other), strict=True):
        if min(a.ends[1], b.ends[1]) - max(a.ends[0], b.ends[0]) <= 0.5 * min(abs(a.step), abs(b.step)):
            return False
    return True


def _cut_all(axes: dict[int, Axis], side: float, phase: float) -> dict[int, Cuts]:
    """Cut one axis of all grids of a cluster."""
    cells = {i: axis.cells(side, phase) for i, axis in axes.items()}
    widest: dict[int, float] = {}
    for i, axis in axes.items():
        for cell, pixels in zip(*np.unique(cells[i], return_counts=True), strict=True):
            widest[int(cell)] = max(widest.get(int(cell), 0.0), float(pixels) * abs(axis.step))
    thin = {cell for cell, width in widest.items() if width < _THIN * side * (1 - 1e-9)}
    return {i: _cut(cells[i], thin) for i in axes}


def _cut(cells: IntArray, thin: set[int]) -> Cuts:
    """Cut where the cell changes, but for thin pieces at either end (no scene of the cluster has more of the cell)."""
    edges = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(cells)]
    if len(edges) > 2 and int(cells[0]) in thin:
        del edges[1]
    if len(edges) > 2 and int(cells[-1]) in thin:
        del edges[-2]
    starts, ends = cells[edges[:-1]], cells[np.array(edges[1:]) - 1]
    return Cuts(np.array(edges, dtype=np.int64), np.minimum(starts, ends), np.maximum(starts, ends))
