"""Walks over a raster: full-width row bands for flat-memory work, and overlapping tiles."""

from collections.abc import Iterator

from pipeline.types import Window


def row_bands(height: int, width: int, rows: int) -> Iterator[Window]:
    """Full-width windows of at most `rows` rows, top to bottom, covering every pixel once."""
    for row in range(0, height, rows):
        yield Window(row, 0, min(rows, height - row), width)


def flat_bands(height: int, width: int, pixels: int, rows: int = 256) -> Iterator[Window]:
    """Row bands of at most `rows` rows, of fewer where a band would have more than about `pixels` pixels."""
    return row_bands(height, width, max(1, min(rows, pixels // width)))


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """First pixels of tiles of `size` along an axis; the last tile is moved back inside, so overlaps vary there only.

    An axis shorter than a tile gets the one tile at 0, which reaches beyond it.
    """
    if length <= size:
        return [0]
    starts = list(range(0, length - size, size - overlap))
    return [*starts, length - size]
