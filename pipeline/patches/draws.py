"""Random numbers of patches, drawn in chunks, as a generator for each would cost as much as a cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.seeding import generator
from pipeline.types import AnyArray

#: Draws made at once.
_CHUNK = 256

#: Chunks kept: augmentation asks for other draws of the epoch in between.
_KEPT = 8

#: Makes the columns of a chunk: from a generator and a number of draws, so many whole numbers a column.
Columns = Callable[[np.random.Generator, int], Sequence[AnyArray]]


class Draws:
    """The row of an (epoch, index): depends on these, the seed and the columns, whoever asks in what order.

    Columns are pickled into worker processes.
    """

    def __init__(self, seed: int, columns: Columns, stream: str = "patches") -> None:
        self._seed, self._columns, self._stream = seed, columns, stream
        self._tables: dict[tuple[int, int], list[tuple[int, ...]]] = {}

    def __call__(self, epoch: int, index: int) -> tuple[int, ...]:
        """One number of each column."""
        chunk = (epoch, index // _CHUNK)
        table = self._tables.get(chunk)
        if table is None:
            if len(self._tables) >= _KEPT:
                del self._tables[next(iter(self._tables))]
            columns = self._columns(generator(self._seed, self._stream, *chunk), _CHUNK)
            table = self._tables[chunk] = list(zip(*(column.tolist() for column in columns), strict=True))
        return table[index % _CHUNK]


@dataclass(frozen=True)
class AnchorColumns:
    """Which pool of pixels, which of its pixels, where in the window that pixel lies, and which turn."""

    #: Pixels of each pool.
    pixels: tuple[int, ...]
    #: Share of the draws of each pool; they sum to 1.
    shares: tuple[float, ...]
    #: Where in the window the pixel may lie, from its upper left corner: the first place, and how many there are.
    first_shift: int
    shifts: int
    turns: int

    def __call__(self, rng: np.random.Generator, size: int) -> Sequence[AnyArray]:
        """Columns pool, number, row shift, column shift, turn."""
        if len(self.pixels) == 1:
            pools = np.zeros(size, dtype=np.int64)
            numbers = rng.integers(self.pixels[0], size=size)
        else:
            edges = np.cumsum(self.shares)[:-1]
            pools = edges.searchsorted(rng.random(size), side="right")
            numbers = rng.integers(np.asarray(self.pixels)[pools])
        rows, cols = (self.first_shift + rng.integers(self.shifts, size=size) for _ in range(2))
        return pools, numbers, rows, cols, rng.integers(self.turns, size=size)


@dataclass(frozen=True)
class ImageColumns:
    """Which scene, the upper left corner of the window in it, and which turn."""

    #: Number of places of a window in each scene, by rows and by columns.
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    turns: int

    def __call__(self, rng: np.random.Generator, size: int) -> Sequence[AnyArray]:
        """Columns scene, row, column, turn."""
        scenes = rng.integers(len(self.rows), size=size)
        rows, cols = (rng.integers(np.asarray(places)[scenes]) for places in (self.rows, self.cols))
        return scenes, rows, cols, rng.integers(self.turns, size=size)


@dataclass(frozen=True)
class TurnColumn:
    """Which turn, alone."""

    turns: int

    def __call__(self, rng: np.random.Generator, size: int) -> Sequence[AnyArray]:
        """The one column."""
        return (rng.integers(self.turns, size=size),)
