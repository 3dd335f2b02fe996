"""Where a score is highest over two-dimensional offsets, to a fraction of a pixel, and how certain that is.

Scores are sums over blocks of ground, each block's a sum over its pixels. A quadratic through the 3 x 3 scores around
the best one gives the maximum; how much the blocks' own gradients there disagree gives its covariance: the sandwich
of an M-estimator with independent blocks (White 1982, Econometrica 50, 1; Liang and Zeger 1986, Biometrika 73, 13).

Shape legend: M blocks, Y and X offsets, from -R to R pixels down and to the right.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.types import AnyArray

#: Offsets nearer than this to the best are its own peak; those beyond compete with it (pixels, either axis).
_PEAK_PX = 3

#: Blocks whose scores depend on the offset: with fewer, their disagreement says nothing.
_LEAST_BLOCKS = 4


TOO_LITTLE = "too little label boundary on train ground"


@dataclass(frozen=True)
class Peak:
    """Offset of the highest score in pixels (x to the right, y down) and its covariance, shape 2 x 2.

    `undetermined` says why there is none ("" where there is one); the numbers then mean nothing.
    """

    offset_px: npt.NDArray[np.float64]
    covariance_px2: npt.NDArray[np.float64]
    undetermined: str = ""

    @property
    def error_px(self) -> npt.NDArray[np.float64]:
        """Standard errors along x and y in pixels."""
        return np.sqrt(np.diag(self.covariance_px2))


def locate(scores_MYX: AnyArray, most_error_px: float, clear: float) -> Peak:
    """The maximum of the blocks' summed scores; the outermost offsets serve as neighbours only.

    Args:
        scores_MYX: one score for each block and offset; a block without information has equal scores.
        most_error_px: an offset less certain than this (standard error along either axis) is undetermined.
        clear: standard errors by which the best score must exceed that of every offset away from it.
    """
    total = scores_MYX.sum(axis=0)
    reach = total.shape[0] // 2
    telling = np.ptp(scores_MYX, axis=(1, 2)) > 0
    blocks = int(np.count_nonzero(telling))
    if blocks < _LEAST_BLOCKS:
        return no_peak(TOO_LITTLE)
    row, col = np.unravel_index(int(total.argmax()), total.shape)
    if max(abs(row - reach), abs(col - reach)) == reach:
        return no_peak("no offset within reach fits best")
    if not _is_clear(scores_MYX[telling], int(row), int(col), clear):
        return no_peak("another offset fits about as well")
    slopes, bends = _quadratic(scores_MYX[telling, row - 1: row + 2, col - 1: col + 2])
    bend = bends.sum(axis=0)
    if np.linalg.eigvalsh(bend).max() >= 0:
        return no_peak("the score is flat")
    step = -np.linalg.solve(bend, slopes.sum(axis=0))
    gradients = slopes + bends @ step
    inverse = np.linalg.inv(bend)
    covariance = inverse @ (gradients.T @ gradients) @ inverse * (blocks / (blocks - 1))
    peak = Peak(np.array([col - reach, row - reach]) + step, covariance)
    if np.abs(step).max() > 1 or peak.error_px.max() > most_error_px:
        return no_peak("the score is flat")
    return peak


def no_peak(reason: str) -> Peak:
    """No offset, and why."""
    return Peak(np.zeros(2), np.zeros((2, 2)), reason)


def _is_clear(scores_MYX: AnyArray, row: int, col: int, clear: float) -> bool:
    """Does the best offset beat every one away from it by `clear` times what the blocks' disagreement explains?"""
    total = scores_MYX.sum(axis=0)
    away = np.ones(total.shape, dtype=np.bool_)
    away[max(0, row - _PEAK_PX): row + _PEAK_PX + 1, max(0, col - _PEAK_PX): col + _PEAK_PX + 1] = False
    if not away.any():
        return True
    gain = scores_MYX[:, row, col, None] - scores_MYX[:, away]
    count = len(gain)
    error = gain.std(axis=0, ddof=1) * np.sqrt(count)
    return bool((gain.sum(axis=0) > clear * error).all())


def _quadratic(scores_M33: AnyArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Least-squares quadratic of each block over the 3 x 3 offsets: gradient (M, 2) and Hessian (M, 2, 2) at 0."""
    y, x = np.mgrid[-1:2, -1:2].reshape(2, 9)
    design = np.stack([np.ones(9), x, y, x * x / 2, y * y / 2, x * y], axis=1)
    fit = scores_M33.reshape(-1, 9) @ np.linalg.pinv(design).T
    bends = np.stack([fit[:, 3], fit[:, 5], fit[:, 5], fit[:, 4]], axis=1).reshape(-1, 2, 2)
    return fit[:, 1:3], bends
