"""Photometric changes: of a window's bands in scene units, before indices and textures are computed from them.

Library transforms take floats for shares from 0 to 1 and clip them there. Values here are digital numbers, kelvins or
metres, so changes are measured in each band's own standard deviations over the train pixels.

Shape legend: B bands, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.params.augment import AugmentParams
from pipeline.patches.statistics import BandStatistics
from pipeline.types import BoolArray, FloatArray

#: The value, in standard deviations above the mean, that gamma leaves as it is.
_WHITE = 2.0


@dataclass(frozen=True, eq=False)
class ValueChanges:
    """Changes bands at random; the `photometric` of WindowPatches.

    In this order: gamma (y = low + (white - low) * t ** g, with t = (x - low) / (white - low) where it is above 0, low
    the least train value and white the mean plus two standard deviations), contrast and brightness (y = mean + c *
    (x - mean) + b * std), noise (y = x + s * std * N(0, 1), s uniform from 0 to `noise`), dropout (y = NaN). Powers and
    factors are log-uniform, so that a change and its reverse are equally likely. Bands that are nowhere below 0 on the
    train pixels stay so. A dropped band is undefined (NaN), as are indices and textures that need it: the network
    sees the mean, and the pixels stay visible.
    """

    params: AugmentParams
    mean_B: FloatArray
    std_B: FloatArray
    low_B: FloatArray
    #: The bands that may be changed.
    chosen_B: BoolArray

    def __call__(self, image_BHW: FloatArray, rng: np.random.Generator) -> FloatArray:
        """The image, float32 BHW in scene units and NaN where invisible, changed in place."""
        power = _factor(rng, self.params.gamma)
        contrast = _factor(rng, self.params.contrast)
        brightness = (self.params.brightness * rng.uniform(-1, 1)
                      + self.params.band_brightness * rng.uniform(-1, 1, len(image_BHW)))
        noise = self.params.noise * rng.random()
        dropped = self.chosen_B & (rng.random(len(image_BHW)) < self.params.band_dropout)
        if dropped.all():
            dropped[rng.integers(len(dropped))] = False
        for band in np.flatnonzero(self.chosen_B).tolist():
            values = image_BHW[band]
            if dropped[band]:
                values.fill(np.nan)
            else:
                self._change(values, band, power, contrast, float(brightness[band]), noise, rng)
        return image_BHW

    def _change(self, values_HW: FloatArray, band: int, power: float, contrast: float, brightness: float,
                noise: float, rng: np.random.Generator) -> None:
        """Change one band in place."""
        mean, std, low = (float(array[band]) for array in (self.mean_B, self.std_B, self.low_B))
        white = mean + _WHITE * std
        if power != 1 and white > low:
            bright = values_HW > low
            shares = (values_HW[bright] - low) / np.float32(white - low)
            values_HW[bright] = low + np.float32(white - low) * shares ** np.float32(power)
        if contrast != 1 or brightness:
            values_HW *= np.float32(contrast)
            values_HW += np.float32(mean * (1 - contrast) + brightness * std)
        if noise:
            values_HW += np.float32(noise * std) * rng.standard_normal(values_HW.shape, dtype=np.float32)
        if low >= 0:
            np.maximum(values_HW, 0, out=values_HW)


def _factor(rng: np.random.Generator, limit: float) -> float:
    """A log-uniform factor between 1 / (1 + limit) and 1 + limit; 1 where the limit is 0."""
    return float(np.exp(rng.uniform(-1, 1) * np.log1p(limit)))


def value_changes(params: AugmentParams, bands: Sequence[str], statistics: BandStatistics) -> ValueChanges | None:
    """What to give WindowPatches as `photometric`, None where no setting asks for it.

    Args:
        params: the settings.
        bands: names of the bands, in the store's order.
        statistics: of the bands as they are (not of channels computed from them) over the visible train pixels.
    """
    if not params.changes_values:
        return None
    chosen = [not params.value_bands or band in params.value_bands for band in bands]
    mean, std, low = (np.array(values, np.float32) for values in (statistics.mean, statistics.std, statistics.low))
    return ValueChanges(params, mean, std, low, np.array(chosen))
