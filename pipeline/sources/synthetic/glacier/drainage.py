"""Drainage over a grid of heights: where each cell's water (or ice) goes, pits spilling over their lowest saddle.

The tree that joins every cell to the outlets over the lowest possible saddles is the minimum spanning tree of the grid
whose edges weigh as much as the higher of their ends (after Boruvka's view of depressions in Cordonnier, Bovy and
Braun 2019, Earth Surf. Dynam. 7, 549). Among lower neighbours the steepest way wins.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from pipeline.sources.synthetic.glacier.fields import FloatArray

IntArray = npt.NDArray[np.int64]

#: Added to weights, since a weight of 0 is no edge.
_ABOVE = 1e5
#: Metres a slope of 1 takes off a weight: enough to break ties, too little to reorder saddles.
_TIE = 1e-3


@dataclass(frozen=True)
class Drainage:
    """Levels of cells (flat index) from the outlets upwards, and each cell's receiver (itself at an outlet)."""

    levels: tuple[IntArray, ...]
    receiver: IntArray

    def upwards(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Cells and their receivers, from below the outlets' level on."""
        for level in self.levels[1:]:
            yield level, self.receiver[level]

    def gather(self, amount: FloatArray, keep_positive: bool = False) -> FloatArray:
        """What passes through each cell: its own amount and that of all cells above it.

        With `keep_positive` a flow that would fall below zero ends there: ice that has melted.
        """
        total = amount.ravel().copy()
        for level in reversed(self.levels):
            if keep_positive:
                total[level] = np.maximum(total[level], 0)
            below = self.receiver[level]
            moving = below != level
            np.add.at(total, below[moving], total[level[moving]])
        return np.asarray(total.reshape(amount.shape))


def drain(height_m: FloatArray, outlets: IntArray) -> Drainage:
    """The drainage of square ground (heights HW in metres) to its outlets (flat indices)."""
    rows, cols = height_m.shape
    flat = height_m.ravel()
    number = np.arange(rows * cols).reshape(rows, cols)
    ones, others, weights = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = number[: rows - down, max(0, -right) : cols - max(0, right)].ravel()
        b = a + down * cols + right
        step = np.abs(flat[a] - flat[b]) / np.hypot(down, right)
        ones.append(a)
        others.append(b)
        weights.append(np.maximum(flat[a], flat[b]) - _TIE * np.minimum(step / 100, 10) + _ABOVE)
    root = rows * cols
    ones.append(np.full(len(outlets), root))
    others.append(outlets)
    weights.append(flat[outlets] + _ABOVE - 1)
    graph = coo_array((np.concatenate(weights), (np.concatenate(ones), np.concatenate(others))),
                      shape=(root + 1, root + 1)).tocsr()
    order, before = breadth_first_order(minimum_spanning_tree(graph), root, directed=False)
    place = np.empty(root + 1, dtype=np.int64)
    place[order] = np.arange(root + 1)
    parent_place = place[before[order[1:]]]
    levels, stop = [], 1
    while stop <= root:
        end = 1 + int(np.searchsorted(parent_place, stop, side="left"))
        levels.append(order[stop:end].astype(np.int64))
        stop = end
    receiver = before[:root].astype(np.int64)
    receiver[receiver == root] = np.flatnonzero(receiver == root)
    return Drainage(tuple(levels), receiver)
