"""Statistics of the bands over visible train pixels, in one pass by row bands."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo.windows import row_bands
from pipeline.patches.ground import TrainGround
from pipeline.types import AnyArray

_ROWS = 256


@dataclass(frozen=True)
class BandStatistics:
    """Per band, in scene units: mean, population standard deviation, least and largest value."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def band_statistics(grounds: Sequence[TrainGround]) -> BandStatistics:
    """Statistics over all visible train pixels.

    Row bands are merged by the pairwise update of Chan, Golub & LeVeque (1983), in float64 and a fixed order.

    Raises:
        SceneError: a band is constant, so nothing can be learnt from it.
    """
    bands = grounds[0].scene.bands
    count, mean, squares = 0, np.zeros(len(bands)), np.zeros(len(bands))
    low, high = np.full(len(bands), np.inf), np.full(len(bands), -np.inf)
    for ground in grounds:
        for band in row_bands(*ground.scene.grid.shape, _ROWS):
            pixels: AnyArray = ground.scene.image[band.slices][ground.visible_HW[band.slices]].astype(np.float64)
            if not len(pixels):
                continue
            part_mean = pixels.mean(axis=0)
            delta, total = part_mean - mean, count + len(pixels)
            mean = mean + delta * (len(pixels) / total)
            squares = squares + ((pixels - part_mean) ** 2).sum(axis=0) + delta**2 * (count * len(pixels) / total)
            low, high, count = np.minimum(low, pixels.min(axis=0)), np.maximum(high, pixels.max(axis=0)), total
    std = np.sqrt(squares / count)
    # Rounding leaves a constant band a deviation of about 1e-16 of its value.
    if flat := [b for b, m, s in zip(bands, mean, std, strict=True) if s <= 1e-9 * abs(m)]:
        raise SceneError(f"bands must vary over the train pixels: {flat} are constant; leave them out of task.bands")
    return BandStatistics(*(tuple(float(v) for v in a) for a in (mean, std, low, high)))
