"""Statistics of the channels over visible train pixels, in one pass by row bands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import SceneError
from pipeline.features.channels import ChannelRecipe
from pipeline.patches.cut import channels
from pipeline.patches.ground import TrainGround, scene_bands
from pipeline.types import AnyArray


@dataclass(frozen=True)
class BandStatistics:
    """Per channel, in its own units: mean, population standard deviation, least and largest value."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def band_statistics(grounds: Sequence[TrainGround], recipe: ChannelRecipe) -> BandStatistics:
    """Statistics over all visible train pixels at which a channel is defined.

    Raises:
        SceneError: a channel is constant or nowhere defined, so nothing can be learnt from it.
    """
    found = _gathered(grounds, recipe)
    if nowhere := [c for c, m in zip(recipe.channels, found.mean, strict=True) if np.isnan(m)]:
        raise SceneError(f"channels must be defined on train pixels: {nowhere} are nowhere; "
                         "leave them out of task.channels")
    # Rounding leaves a constant band a deviation of about 1e-16 of its value.
    if flat := [c for c, m, s in zip(recipe.channels, found.mean, found.std, strict=True) if s <= 1e-9 * abs(m)]:
        raise SceneError(f"{'bands' if recipe.is_plain else 'channels'} must vary over the train pixels: {flat} are "
                         f"constant; leave them out of task.{'bands' if recipe.is_plain else 'channels'}")
    return found


def raw_statistics(grounds: Sequence[TrainGround]) -> BandStatistics:
    """Statistics of every band as it is over all visible train pixels, in scene units; a band may be constant."""
    bands = grounds[0].scene.bands
    return _gathered(grounds, ChannelRecipe.named(bands, bands, None, 1.0))


def band_ranges(grounds: Sequence[TrainGround]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Least and largest value of every band over the visible train pixels, in scene units."""
    found = raw_statistics(grounds)
    return found.low, found.high


def _gathered(grounds: Sequence[TrainGround], recipe: ChannelRecipe) -> BandStatistics:
    """Row bands merged by the pairwise update of Chan, Golub & LeVeque (1983), in float64 and a fixed order."""
    size = len(recipe.channels)
    count, mean, squares = np.zeros(size), np.zeros(size), np.zeros(size)
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    for pixels in _visible_pixels(grounds, recipe):
        defined = ~np.isnan(pixels)
        part = defined.sum(axis=0)
        part_mean = np.where(defined, pixels, 0.0).sum(axis=0) / np.maximum(part, 1)
        delta, total = part_mean - mean, np.maximum(count + part, 1)
        mean = mean + delta * (part / total)
        squares = (squares + np.where(defined, (pixels - part_mean) ** 2, 0.0).sum(axis=0)
                   + delta**2 * (count * part / total))
        low = np.minimum(low, np.where(defined, pixels, np.inf).min(axis=0))
        high = np.maximum(high, np.where(defined, pixels, -np.inf).max(axis=0))
        count = count + part
    none = count == 0
    std = np.sqrt(squares / np.maximum(count, 1))
    return BandStatistics(*(tuple(float(v) for v in np.where(none, np.nan, a)) for a in (mean, std, low, high)))


def _visible_pixels(grounds: Sequence[TrainGround], recipe: ChannelRecipe) -> Iterator[AnyArray]:
    """Row band by row band: channels of the visible pixels, float64, one row a pixel."""
    for ground in grounds:
        # The halo of a band is computed again for the next one, so a band is not much smaller than its halo.
        for band in scene_bands(ground.scene, least_rows=max(1, 2 * recipe.radius_px)):
            visible = ground.visible(band)
            if not visible.any():
                continue
            if recipe.is_plain:
                yield ground.image_HWB[band.slices][visible].astype(np.float64)
            else:
                yield channels(ground, band, recipe)[:, visible].T.astype(np.float64)
