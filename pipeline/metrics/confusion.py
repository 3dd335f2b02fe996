"""Mergeable confusion matrices: the only thing scores are computed from.

Shape legend: B blocks, K classes, H rows, W columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import IntegrityError
from pipeline.types import IGNORE_INDEX, AnyArray

CountArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixel counts, int64 of shape KK, indexed [true class, predicted class]; immutable, merge to add up."""

    matrix: CountArray

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.int64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise IntegrityError(f"a confusion matrix must be square: got shape {matrix.shape}; "
                                 "count it over one class list")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def empty(cls, k: int) -> "Confusion":
        """No pixels, `k` classes: the neutral element of merging."""
        return cls(np.zeros((k, k), dtype=np.int64))

    @classmethod
    def of(cls, truth: AnyArray, predicted: AnyArray, k: int) -> "Confusion":
        """Count two arrays of class ids of equal shape; a pixel that is 255 in either is not counted.

        Raises:
            IntegrityError: shapes differ, or an id is neither below `k` nor 255.
        """
        truth_N, predicted_N, _ = _counted(truth, predicted, None, k)
        return cls(np.bincount(truth_N * k + predicted_N, minlength=k * k).reshape(k, k))

    @property
    def k(self) -> int:
        """Number of classes."""
        return int(self.matrix.shape[0])

    @property
    def pixels(self) -> int:
        """Number of counted pixels."""
        return int(self.matrix.sum())

    def merge(self, other: "Confusion") -> "Confusion":
        """The counts of both; associative and commutative.

        Raises:
            IntegrityError: the two have different numbers of classes.
        """
        if self.k != other.k:
            raise IntegrityError(f"merged confusion matrices must have one class list: got {self.k} and "
                                 f"{other.k} classes; count both with the split's classes")
        return Confusion(self.matrix + other.matrix)

    __add__ = merge

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Confusion) and np.array_equal(self.matrix, other.matrix)

    __hash__ = None  # type: ignore[assignment]


def merge_all(confusions: Iterable[Confusion], k: int) -> Confusion:
    """The sum of any number of matrices; empty for none."""
    total = Confusion.empty(k)
    for confusion in confusions:
        total = total.merge(confusion)
    return total


def per_block(truth_HW: AnyArray, predicted_HW: AnyArray, block_HW: AnyArray, k: int) -> dict[int, Confusion]:
    """Block id -> confusion of its counted pixels, ids ascending; block 0 ("no block") is left out.

    Blocks without a counted pixel do not appear.

    Raises:
        IntegrityError: shapes differ, or a class id is neither below `k` nor 255.
    """
    truth_N, predicted_N, block_N = _counted(truth_HW, predicted_HW, block_HW, k)
    ids = np.flatnonzero(np.bincount(block_N))
    if ids.size == 0:
        return {}
    place = np.zeros(int(ids[-1]) + 1, dtype=np.int64)
    place[ids] = np.arange(ids.size)
    cells = (place[block_N] * k + truth_N) * k + predicted_N
    counts_BKK = np.bincount(cells, minlength=ids.size * k * k).reshape(ids.size, k, k)
    return {int(block): Confusion(counts_BKK[i]) for i, block in enumerate(ids)}


def merge_blocks(first: Mapping[int, Confusion], second: Mapping[int, Confusion]) -> dict[int, Confusion]:
    """Per-block counts of two sets of pixels, such as two row bands or two scenes."""
    merged = dict(first)
    for block, confusion in second.items():
        merged[block] = merged[block].merge(confusion) if block in merged else confusion
    return dict(sorted(merged.items()))


def _counted(truth: AnyArray, predicted: AnyArray, block: AnyArray | None,
             k: int) -> tuple[CountArray, CountArray, CountArray]:
    """Flat ids of the pixels that count (neither id is 255, and the block, if given, is not 0)."""
    shapes = {truth.shape, predicted.shape, truth.shape if block is None else block.shape}
    if len(shapes) > 1:
        raise IntegrityError(f"truth, prediction and blocks must lie on one grid: got shapes "
                             f"{sorted(shapes)}; rerun rasterize")
    counted = (truth != IGNORE_INDEX) & (predicted != IGNORE_INDEX)
    if block is not None:
        counted &= block != 0
    truth_N, predicted_N = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for name, ids in (("truth", truth_N), ("prediction", predicted_N)):
        wrong = ids[(ids < 0) | (ids >= k)]
        if wrong.size:
            raise IntegrityError(f"class ids of the {name} must be below {k} or {IGNORE_INDEX}: "
                                 f"got {int(wrong[0])}; map them with the split's classes")
    block_N = np.zeros(0, dtype=np.int64) if block is None else block[counted].astype(np.int64)
    return truth_N, predicted_N, block_N
