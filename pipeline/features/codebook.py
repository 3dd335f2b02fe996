"""Pixels as a few codes: cells of feature space that hold equal shares of a sample of pixels.

Counting codes by class describes classes of any shape in feature space without a model of it. The cells are those of a
k-d tree (Bentley 1975, CACM 18, 509) grown in the sample's principal axes: each cell is halved at the median of
the axis along which it is longest, so that cells follow the pixels and none is empty.

Shape legend: N pixels, B bands, Q codes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.types import AnyArray, UInt8Array


@dataclass(frozen=True)
class Codebook:
    """A grown tree. Inner nodes lie in levels, the children of node i of a level are 2i and 2i + 1 of the next."""

    center_B: npt.NDArray[np.float32]
    axes_BB: npt.NDArray[np.float32]
    #: Per level: the axis and the threshold of each node.
    axis: tuple[npt.NDArray[np.intp], ...]
    threshold: tuple[npt.NDArray[np.float32], ...]

    @property
    def codes(self) -> int:
        """Number of codes, Q."""
        return int(2 ** len(self.axis))

    def encode(self, pixels_NB: AnyArray) -> UInt8Array:
        """Code of each pixel, uint8 from 0 to Q - 1, shape N. Pixels must be finite."""
        values = _projected(pixels_NB, self.center_B, self.axes_BB)
        node: npt.NDArray[np.intp] = np.zeros(len(values), dtype=np.intp)
        row = np.arange(len(values))
        for axis, threshold in zip(self.axis, self.threshold, strict=True):
            node = 2 * node + (values[row, axis[node]] > threshold[node])
        return node.astype(np.uint8)


def grow(sample_NB: AnyArray, levels: int = 6) -> Codebook:
    """The codebook of 2 ** `levels` codes (at most 256) for a sample of finite pixels.

    Bands are scaled to unit deviation first. A band that is constant changes nothing.

    Raises:
        ValueError: there are fewer pixels than codes, or more than 256 codes.
    """
    if not 1 <= levels <= 8 or len(sample_NB) < 2**levels:
        raise ValueError(f"a codebook needs 1 to 8 levels and a pixel for each code: got {levels} levels and "
                         f"{len(sample_NB)} pixels")
    sample = sample_NB.astype(np.float64)
    spread = sample.std(axis=0)
    scale = np.where(spread > 0, spread, 1)
    center = sample.mean(axis=0)
    covariance = np.cov((sample - center) / scale, rowvar=False).reshape(sample.shape[1], sample.shape[1])
    _, vectors = np.linalg.eigh(covariance)
    axes = (vectors / scale[:, None]).astype(np.float32)
    values = _projected(sample_NB, center.astype(np.float32), axes)
    cells, axis_of, threshold_of = [np.arange(len(values))], [], []
    for _ in range(levels):
        split = [_split(values, cell) for cell in cells]
        axis_of.append(np.array([axis for axis, _ in split], dtype=np.intp))
        threshold_of.append(np.array([threshold for _, threshold in split], dtype=np.float32))
        cells = [half for cell, (axis, threshold) in zip(cells, split, strict=True)
                 for half in (cell[values[cell, axis] <= threshold], cell[values[cell, axis] > threshold])]
    return Codebook(center.astype(np.float32), axes, tuple(axis_of), tuple(threshold_of))


def _projected(pixels_NB: AnyArray, center_B: AnyArray, axes_BB: AnyArray) -> npt.NDArray[np.float32]:
    centred = pixels_NB.astype(np.float32) - center_B
    # Band by band, so that no BLAS and its number of threads has a say in the last bit.
    projected = np.zeros_like(centred)
    for band in range(centred.shape[1]):
        projected += centred[:, band, None] * axes_BB[band]
    return projected


def _split(values: AnyArray, cell: AnyArray) -> tuple[int, float]:
    """The axis along which the cell is longest (10th to 90th percentile), and its median there."""
    if len(cell) == 0:
        return 0, 0.0
    inside = values[cell]
    low, high = np.percentile(inside, [10, 90], axis=0)
    axis = int(np.argmax(high - low))
    return axis, float(np.median(inside[:, axis]))
