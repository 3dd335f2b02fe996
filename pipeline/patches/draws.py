"""Random places and orientations of patches, drawn in chunks, as a generator for each would cost as much as a cut."""

from dataclasses import dataclass

from pipeline.seeding import generator

#: Draws made at once.
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance decides of one patch."""

    #: Number of a labelled pixel, counted over all scenes.
    number: int
    #: Where in the window that pixel lies, from its upper left corner.
    row_shift: int
    col_shift: int
    #: Which of the eight flips and quarter turns; 0 leaves the patch as it is.
    turn: int


class Draws:
    """The draw of an (epoch, index): depends on these, the seed and the ranges below, whoever asks in what order."""

    def __init__(self, seed: int, pixels: int, size_px: int, turns: int) -> None:
        self._seed = seed
        self._pixels, self._size, self._turns = pixels, size_px, turns
        self._chunk: tuple[int, int] = (-1, -1)
        self._table: list[Draw] = []

    def __call__(self, epoch: int, index: int) -> Draw:
        """The draw of a place in an epoch, both from 0."""
        chunk = (epoch, index // _CHUNK)
        if chunk != self._chunk:
            self._table, self._chunk = self._drawn(chunk), chunk
        return self._table[index % _CHUNK]

    def _drawn(self, chunk: tuple[int, int]) -> list[Draw]:
        rng = generator(self._seed, "patches", *chunk)
        columns = [rng.integers(high, size=_CHUNK).tolist()
                   for high in (self._pixels, self._size, self._size, self._turns)]
        return [Draw(*values) for values in zip(*columns, strict=True)]
