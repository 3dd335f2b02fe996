"""Otsu's threshold over a stream of values: N. Otsu (1979), IEEE Trans Syst Man Cybern 9(1), 62-66."""

import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray

#: A bin is the leading 20 bits of a float32: any range in one pass, each bin 1/2048 of its value wide or less.
_BITS = 20
_SHIFT = np.uint32(32 - _BITS)


class Histogram:
    """Counts and sums of values by bin; no value is out of range."""

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.int64] = np.zeros(1 << _BITS, dtype=np.int64)
        self._sums: npt.NDArray[np.float64] = np.zeros(1 << _BITS)

    def add(self, values: FloatArray) -> None:
        """Count values; those that are not finite are passed over."""
        finite = values[np.isfinite(values)] + np.float32(0)  # -0 becomes 0
        bits = finite.view(np.uint32)
        # Bits of floats in the order of their values: negative ones are turned round, positive ones follow them.
        ordered = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31)) >> _SHIFT
        self._counts += np.bincount(ordered, minlength=1 << _BITS)
        self._sums += np.bincount(ordered, weights=finite, minlength=1 << _BITS)

    def threshold(self) -> float | None:
        """The cut that makes the variance between both classes largest, midway between the bins beside it.

        None where fewer than two bins hold values.
        """
        held = np.flatnonzero(self._counts)
        if len(held) < 2:
            return None
        counts, sums = self._counts[held].astype(np.float64), self._sums[held]
        below, sum_below = np.cumsum(counts)[:-1], np.cumsum(sums)[:-1]
        above, sum_above = counts.sum() - below, sums.sum() - sum_below
        # Otsu (1979), equation 14, up to the factor 1 / n^2: w0 w1 (m1 - m0)^2.
        between = below * above * (sum_above / above - sum_below / below) ** 2
        cut, means = int(between.argmax()), sums / counts
        return float((means[cut] + means[cut + 1]) / 2)
