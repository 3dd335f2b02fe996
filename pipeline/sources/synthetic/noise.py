"""Seeded randomness for drawing: smooth random fields, hashes of integer cells, jittered cells on a line.

Drawing works on flat arrays of the pixels of one row band. A hash of the cell a pixel lies in, instead of a stream
of random numbers, gives the same city whatever the band's height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from pipeline.seeding import generator

FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int32]
HashArray: TypeAlias = npt.NDArray[np.uint32]

DRAW_M = 2.0
PIXEL_M = 10.0
SUBPIXELS = 5

_LEVELS = 4096
_MID_RANKS = (np.arange(_LEVELS) + 0.5) / _LEVELS


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each named part of the scene, so that no part's draws move another's."""
    return generator(seed, "synthetic", name)


def salt_of(seed: int, name: str) -> int:
    """A 32-bit salt for the hashes of one named part of the scene."""
    return int(stream(seed, name).integers(0, 2**32))


def mix(salt: int | HashArray, *keys: npt.NDArray[np.integer]) -> HashArray:
    """Hash integer keys to 32 well-mixed bits each, with the finalizer of MurmurHash3 (A. Appleby)."""
    state = np.atleast_1d(np.asarray(salt, dtype=np.uint32))
    for key in keys:
        state = (state ^ key.astype(np.uint32)) * np.uint32(0x9E3779B1)
        state = state ^ (state >> np.uint32(15))
    state = state * np.uint32(0x85EBCA6B)
    state ^= state >> np.uint32(13)
    state *= np.uint32(0xC2B2AE35)
    state ^= state >> np.uint32(16)
    return state


def uniform(bits: HashArray) -> FloatArray:
    """Map hash bits to floats in [0, 1)."""
    values: FloatArray = (bits >> np.uint32(8)).astype(np.float32)
    values *= np.float32(2.0**-24)
    return values


def lognormal_table(median: float, sigma: float, low: float, high: float) -> FloatArray:
    """Quantiles of a clipped lognormal at 4096 mid-ranks, to be looked up by `pick`."""
    quantiles: FloatArray = np.clip(median * np.exp(sigma * special.ndtri(_MID_RANKS)), low, high).astype(np.float32)
    return quantiles


def pick(table: FloatArray, bits: HashArray) -> FloatArray:
    """Draw from a quantile table of 4096 entries with the high 12 bits of a hash."""
    values: FloatArray = table[bits >> np.uint32(20)]
    return values


@dataclass(frozen=True)
class Cells:
    """The jittered cell of each point on a line: its index and the metres to its lower and upper edge."""

    index: IntArray
    to_low: FloatArray
    to_high: FloatArray

    @property
    def to_edge(self) -> FloatArray:
        """Metres to the nearer edge."""
        return np.minimum(self.to_low, self.to_high)


def cells(position_m: FloatArray, period_m: float | FloatArray, jitter: float, salt: int | HashArray) -> Cells:
    """Cut a line into cells of irregular length.

    Edge k lies at (k + jitter * U_k) * period with U_k hashed to [0, 1), so cell lengths lie between
    (1 - jitter) and (1 + jitter) periods.

    Args:
        position_m: place of each point along the line, metres.
        period_m: mean length of a cell, one for all or one for each point.
        jitter: 0 (regular) to below 1.
        salt: one, or one for each point where points lie on different lines.
    """
    period = np.asarray(period_m, dtype=np.float32)
    place = position_m / period
    base = np.floor(place)
    index = base.astype(np.int32)
    amount = np.float32(jitter)
    edge = base + amount * uniform(mix(salt, index))
    step = np.where(place >= edge, 0, -1).astype(np.int32)
    other_index = index + 1 + 2 * step
    other = other_index.astype(np.float32) + amount * uniform(mix(salt, other_index))
    low = np.where(step == 0, edge, other)
    high = np.where(step == 0, other, edge)
    return Cells(index + step, (place - low) * period, (high - place) * period)


@dataclass(frozen=True)
class Field:
    """A smooth random field kept at 10 m and read at 2 m; of about zero mean."""

    values: FloatArray

    @classmethod
    def random(cls, rng: np.random.Generator, size_px: int, scale_m: float, amplitude: float = 1.0) -> Field:
        """Draw normal values on a grid of `scale_m` and join them by cubic splines."""
        count = int(np.ceil(size_px * PIXEL_M / scale_m)) + 5
        knots = rng.standard_normal((count, count))
        place = np.arange(size_px + 1) * (PIXEL_M / scale_m) + 1.5
        rows, cols = np.meshgrid(place, place, indexing="ij")
        grid = ndimage.map_coordinates(knots, [rows, cols], order=3, mode="nearest")
        return cls((amplitude * grid).astype(np.float32))

    def rows(self, start: int, stop: int) -> FloatArray:
        """Read the 2 m rows start..stop over the whole width, bilinear, shape (stop - start, 5 * size_px)."""
        size = self.values.shape[0] - 1
        place = (np.arange(start, stop, dtype=np.float32) + 0.5) / SUBPIXELS
        low = place.astype(np.int32)
        part = (place - low).astype(np.float32)[:, None]
        lines: FloatArray = self.values[low] * (1 - part) + self.values[low + 1] * part
        # Columns fall on five fixed parts between two values.
        share: FloatArray = ((np.arange(SUBPIXELS) + 0.5) / SUBPIXELS).astype(np.float32)
        step = np.diff(lines, axis=1)[:, :, None] * share
        joined: FloatArray = (lines[:, :size, None] + step).reshape(stop - start, size * SUBPIXELS)
        return joined
