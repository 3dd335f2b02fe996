"""Connected ground that a rule claims: 4-connected areas over row bands, those below a minimum area sorted out.

Rows are held as runs of pixels, joined by union-find with the runs above them (He, Chao and Suzuki 2008, IEEE Trans
Image Process 17, 749-756). A band knows its areas; those that meet a seam are joined over all bands first. So memory
is that of a band, and of two rows of numbers a seam.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.geo.ground import Ground
from pipeline.geo.windows import row_bands
from pipeline.types import AnyArray, UInt8Array, Window

#: Bands hold about so many pixels.
_BAND_PX = 1 << 22


@dataclass(frozen=True)
class Claim:
    """What a rule has claimed: connected areas and their ground in square metres."""

    components: int
    area_m2: float


@dataclass(frozen=True)
class _Runs:
    """Runs of a band: columns [start, stop), their area's number from 0, first run of each row; areas' ground."""

    start: AnyArray
    stop: AnyArray
    area_of: AnyArray
    first: AnyArray
    area_m2: AnyArray

    def row(self, row: int, width: int) -> AnyArray:
        """Numbers of the areas along a row, -1 between them."""
        numbers = np.full(width, -1, dtype=np.int64)
        for i in range(self.first[row], self.first[row + 1]):
            numbers[self.start[i] : self.stop[i]] = self.area_of[i]
        return numbers


def claim_ground(holds_HW: AnyArray, bit: int, claims_HW: UInt8Array, value: int, ground: Ground,
                 min_area_m2: float, band_px: int = _BAND_PX) -> Claim:
    """Write `value` into the claims where a condition holds on unclaimed ground, in areas of at least `min_area_m2`.

    Args:
        holds_HW: conditions as bits of unsigned integers; may be memory-mapped.
        bit: which of them (1, 2, 4, ...).
        claims_HW: 0 = unclaimed; written in place, may be memory-mapped.
        value: the claim.
        ground: measures pixels.
        min_area_m2: smallest area (square metres on the ellipsoid).
        band_px: pixels of a band, about.
    """
    height, width = claims_HW.shape
    bands = list(row_bands(height, width, max(1, band_px // width)))
    if len(bands) == 1:
        runs = _runs_of(holds_HW, bit, claims_HW, ground, bands[0])
        return _write(runs, runs.area_m2 >= min_area_m2, claims_HW, value, bands[0])
    numbers, totals = _joined(holds_HW, bit, claims_HW, ground, bands)
    components, area = 0, 0.0
    for band, own in zip(bands, numbers, strict=True):
        runs = _runs_of(holds_HW, bit, claims_HW, ground, band)
        kept = runs.area_m2 >= min_area_m2
        kept[own[0]] = totals[own[1]] >= min_area_m2
        done = _write(runs, kept, claims_HW, value, band)
        components += done.components - int(kept[own[0]].sum())
        area += done.area_m2
    return Claim(components + int((totals >= min_area_m2).sum()), area)


def _joined(holds: AnyArray, bit: int, claims: UInt8Array, ground: Ground,
            bands: list[Window]) -> tuple[list[tuple[AnyArray, AnyArray]], AnyArray]:
    """For each band its areas at seams and the joined areas they belong to; and the ground of the joined areas."""
    before = np.full(claims.shape[1], -1, dtype=np.int64)
    count, found, joins, parts = 0, [], [], []
    for band in bands:
        runs = _runs_of(holds, bit, claims, ground, band)
        rows = [runs.row(r, band.width) for r in (0, band.height - 1)]
        own = np.unique(np.concatenate(rows))
        own = own[own >= 0]
        upper, lower = (np.where(row >= 0, count + np.searchsorted(own, row), -1) for row in rows)
        both = (before >= 0) & (upper >= 0)
        joins.append(np.unique(np.stack([before[both], upper[both]]), axis=1))
        found.append(own)
        parts.append(runs.area_m2[own])
        before, count = lower, count + len(own)
    pairs = np.concatenate(joins, axis=1)
    links = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(count, count))
    _, root = connected_components(links, directed=False) if count else (0, np.zeros(0, np.int64))
    totals = np.bincount(root, weights=np.concatenate(parts)) if count else np.zeros(0)
    cuts = np.cumsum([len(own) for own in found])[:-1]
    return list(zip(found, np.split(root, cuts), strict=True)), totals


def _runs_of(holds: AnyArray, bit: int, claims: UInt8Array, ground: Ground, band: Window) -> _Runs:
    held, claimed = np.asarray(holds[band.slices]), np.asarray(claims[band.slices])
    most = band.height * ((band.width + 1) // 2)
    start, stop, parent = (np.empty(most + 1, dtype=np.int32) for _ in range(3))
    first = np.zeros(band.height + 1, dtype=np.int64)
    area_m2 = np.empty(most + 1)
    row_m2, step = ground.rows_m2(band.row, band.height)
    count = _connect(held, held.dtype.type(bit), claimed, start, stop, parent, first, row_m2, step, area_m2)
    runs = first[-1]
    return _Runs(start[:runs], stop[:runs], parent[:runs], first, area_m2[:count].copy())


def _write(runs: _Runs, kept: AnyArray, claims: UInt8Array, value: int, band: Window) -> Claim:
    _paint(np.asarray(claims[band.slices]), runs.start, runs.stop, runs.area_of, runs.first, kept, value)
    return Claim(int(kept.sum()), float(runs.area_m2[kept].sum()))


@njit(cache=True, nogil=True)
def _connect(holds, bit, claims, start, stop, parent, first, row_m2, step, area_m2):  # type: ignore[no-untyped-def]
    """Find runs, join those that touch, number the areas from 0 into `parent`, sum their ground; returns how many."""
    height, width = holds.shape
    n = 0
    for r in range(height):
        above, last = first[r - 1] if r else 0, n
        c = 0
        while c < width:
            if not holds[r, c] & bit or claims[r, c]:
                c += 1
                continue
            begin = c
            while c < width and holds[r, c] & bit and not claims[r, c]:
                c += 1
            start[n], stop[n], parent[n] = begin, c, n
            while above < last and stop[above] <= begin:
                above += 1
            k = above
            while k < last and start[k] < c:
                a, b = n, k
                while parent[a] != a:
                    parent[a] = parent[parent[a]]
                    a = parent[a]
                while parent[b] != b:
                    parent[b] = parent[parent[b]]
                    b = parent[b]
                if a != b:
                    parent[max(a, b)] = min(a, b)
                k += 1
            if k > above:
                above = k - 1  # it may reach the next run, too
            n += 1
        first[r + 1] = n
    count = 0
    for i in range(n):  # a root stands for runs after it, so its number (as -1 - number) is known before they ask
        if parent[i] == i:
            parent[i] = -1 - count
            area_m2[count] = 0
            count += 1
        else:
            parent[i] = parent[parent[i]]
    for r in range(height):
        for i in range(first[r], first[r + 1]):
            parent[i] = -1 - parent[i]
            at = 0.5 * (start[i] + stop[i]) / step
            node = min(int(at), row_m2.shape[1] - 2)
            part = at - node
            area_m2[parent[i]] += (stop[i] - start[i]) * (row_m2[r, node] * (1 - part) + row_m2[r, node + 1] * part)
    return count


@njit(cache=True, nogil=True)
def _paint(claims, start, stop, area_of, first, kept, value):  # type: ignore[no-untyped-def]
    for r in range(claims.shape[0]):
        for i in range(first[r], first[r + 1]):
            if kept[area_of[i]]:
                for c in range(start[i], stop[i]):
                    claims[r, c] = value
