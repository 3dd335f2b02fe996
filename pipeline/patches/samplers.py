"""Where patches are cut: a sampler gives the place of an (epoch, index), and depends on nothing but these and the seed.

Windows of the anchored samplers and of whole images stay inside scenes that are large enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.patches.anchors import LabelledPixels, Pool
from pipeline.patches.draws import AnchorColumns, Draws, ImageColumns, TurnColumn
from pipeline.patches.ground import TrainGround
from pipeline.seeding import generator
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, Window

#: Orders of passes that are kept.
_ORDERS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a patch is cut."""

    #: Number of the scene among the train ground.
    ground: int
    #: May reach off the scene.
    window: Window
    #: Which of the eight flips and quarter turns; 0 leaves the patch as it is.
    turn: int


class Sampler(Protocol):
    """Anything that says where patches are cut; pickled into worker processes."""

    def place(self, epoch: int, index: int) -> Place:
        """The place of that patch in that epoch."""
        ...


class AnchoredSampler:
    """Windows around pixels of pools: a pool by its share, one of its pixels uniformly, and where in the window it is.

    Args:
        grounds: the scenes.
        pools: pixels that windows are laid around.
        shares: of the draws, one for each pool; they sum to 1.
        size_px: side of a window.
        seed: of the draws.
        turns: 8 or, without flips and rotations, 1.
        jitter: range of the places in the window where the pixel may lie, as a share of the window: 1 = anywhere.
        stream: name of the draws among those of the seed.
    """

    def __init__(self, grounds: Sequence[TrainGround], pools: Sequence[Pool], shares: Sequence[float], size_px: int,
                 seed: int, turns: int, jitter: float = 1.0, stream: str = "patches") -> None:
        self._shapes = [ground.scene.grid.shape for ground in grounds]
        self._size = size_px
        kept = [(pool, share) for pool, share in zip(pools, shares, strict=True) if share > 0]
        self._pools = [pool for pool, _ in kept]
        shifts = max(1, round(jitter * size_px))
        columns = AnchorColumns(tuple(pool.pixels for pool in self._pools), tuple(share for _, share in kept),
                                (size_px - shifts) // 2, shifts, turns)
        self._draws = Draws(seed, columns, stream)

    def place(self, epoch: int, index: int) -> Place:
        """The place of that patch in that epoch."""
        pool, number, row_shift, col_shift, turn = self._draws(epoch, index)
        ground, row, col = self._pools[pool].pixel(number)
        height, width = self._shapes[ground]
        return Place(ground, Window(_inside(row - row_shift, height, self._size),
                                    _inside(col - col_shift, width, self._size), self._size, self._size), turn)


def uniform_sampler(grounds: Sequence[TrainGround], size_px: int, seed: int, turns: int,
                    jitter: float = 1.0) -> AnchoredSampler:
    """Windows around labelled train pixels drawn uniformly: every one of them can be drawn, equally often."""
    return AnchoredSampler(grounds, [LabelledPixels(grounds)], [1.0], size_px, seed, turns, jitter)


class ImageSampler:
    """A scene drawn uniformly, then any place in it, whether or not it shows a label: scenes weigh equally."""

    def __init__(self, grounds: Sequence[TrainGround], size_px: int, seed: int, turns: int) -> None:
        self._size = size_px
        rows, cols = zip(*((max(0, n - size_px) + 1 for n in ground.scene.grid.shape) for ground in grounds),
                         strict=True)
        self._draws = Draws(seed, ImageColumns(rows, cols, turns))

    def place(self, epoch: int, index: int) -> Place:
        """The place of that patch in that epoch."""
        ground, row, col, turn = self._draws(epoch, index)
        return Place(ground, Window(row, col, self._size, self._size), turn)


class GridSampler:
    """A lattice of windows side by side, those with labelled train pixels, each once a pass in an order of its own.

    A pass goes on from one epoch to the next: draw number epoch x per_epoch + index is place that number mod the
    number of windows in pass that number div it. Windows at the lower and right edges reach off the scene, so that
    every labelled pixel is in one window exactly.
    """

    def __init__(self, grounds: Sequence[TrainGround], size_px: int, seed: int, turns: int, per_epoch: int) -> None:
        self._size, self._seed, self._per_epoch = size_px, seed, per_epoch
        self._corners = np.concatenate([np.insert(lattice(ground, size_px), 0, number, axis=1)
                                        for number, ground in enumerate(grounds)])
        self._turns = Draws(seed, TurnColumn(turns))
        self._orders: dict[int, AnyArray] = {}

    def __len__(self) -> int:
        """Windows of a pass."""
        return len(self._corners)

    def place(self, epoch: int, index: int) -> Place:
        """The place of that patch in that epoch."""
        number, place = divmod(epoch * self._per_epoch + index, len(self))
        ground, row, col = self._corners[self._order(number)[place]].tolist()
        return Place(ground, Window(row, col, self._size, self._size), self._turns(epoch, index)[0])

    def _order(self, number: int) -> AnyArray:
        """The order of a pass; some are kept, as a pass may end within an epoch and donors come from others."""
        if number not in self._orders:
            if len(self._orders) >= _ORDERS:
                del self._orders[next(iter(self._orders))]
            self._orders[number] = generator(self._seed, "grid", number).permutation(len(self))
        return self._orders[number]


def lattice(ground: TrainGround, size_px: int) -> AnyArray:
    """Upper left corners of the lattice's windows that have a labelled pixel: int64, a row and a column each."""
    height, width = ground.scene.grid.shape
    cols = np.arange(0, width, size_px)
    found = []
    for row in range(0, height, size_px):
        band = Window(row, 0, min(size_px, height - row), width)
        labelled: BoolArray = (ground.labels(band) != IGNORE_INDEX).any(axis=0)
        used = cols[np.logical_or.reduceat(labelled, cols)]
        found.append(np.stack([np.full(len(used), row), used], axis=1))
    corners: AnyArray = np.concatenate(found)
    return corners


def _inside(start: int, length: int, size: int) -> int:
    return max(0, min(start, length - size))
