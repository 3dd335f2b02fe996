"""What a Landsat-like sensor makes of the ground: light, mixed pixels, haze and noise; heat at 100 m."""

import numpy as np
from scipy import ndimage

from pipeline.seeding import generator
from pipeline.sources.synthetic.glacier import spectra
from pipeline.sources.synthetic.glacier.domain import Domain
from pipeline.sources.synthetic.glacier.fields import FloatArray, fractal_field, smooth_field
from pipeline.sources.synthetic.glacier.ice import inner
from pipeline.sources.synthetic.glacier.light import Sun, incidence, lit
from pipeline.sources.synthetic.glacier.surface import Surface
from pipeline.sources.synthetic.glacier.terrain import PIXEL_M, slope_of

#: Fall of temperature with height, K per metre, and the height at which an image's air temperature is drawn.
LAPSE_K_M, LAPSE_FROM_M = 6.5e-3, 4000.0
#: The thermal band is seen at 100 m (full width at half maximum) and delivered at 30 m.
THERMAL_SIGMA_PX = 100.0 / PIXEL_M / 2.3548200450309493
MELTING_K = 273.15
#: Digital numbers: reflectance x 10,000 saturating at 1.1, and kelvin x 100.
SCALE, SATURATED, KELVIN = 10_000.0, 11_000, 100.0

_PSF_SIGMA_PX = 0.5
_SKY = np.array([0.17, 0.12, 0.085, 0.03])
_HAZE = np.array([0.030, 0.019, 0.011, 0.003])
_NOISE = np.array([0.0022, 0.0022, 0.0022, 0.0025])
_NOISE_K = 0.25


def observe(seed: int, image: int, surface: Surface, domain: Domain) -> np.ndarray:
    """Digital numbers of an image without its margin, uint16 HWB in the order of `spectra.BANDS`, at least 1."""
    rng = generator(seed, "glacier", image, "sun")
    sun = Sun(np.radians(rng.uniform(38, 60)), np.radians(rng.uniform(115, 160)))
    haze, air_k = rng.uniform(0.3, 1.3), rng.normal(278.5, 2.0)
    cosine, seen = incidence(surface.height, sun), lit(surface.height, sun)
    direct = cosine * seen / np.sin(sun.elevation)
    sky = 1 - 0.45 * np.clip(slope_of(ndimage.gaussian_filter(surface.height, 3)), 0, 1.5)
    flat = reflectance_of(seed, image, surface)
    light = (1 - _SKY)[:, None, None] * direct + (_SKY[:, None, None] * sky)
    radiance = np.clip(flat * light, 0, 1.6)
    noise = generator(seed, "glacier", image, "noise")
    counts = []
    for band in range(4):
        mixed = ndimage.gaussian_filter(radiance[band], _PSF_SIGMA_PX) + haze * _HAZE[band]
        signal = inner(mixed)
        signal = signal + (_NOISE[band] + 0.004 * signal) * noise.standard_normal(signal.shape)
        counts.append(np.clip(np.rint(domain.gain * SCALE * signal), 1, SATURATED))
    heat = inner(temperature_of(seed, image, surface, direct, air_k))
    heat = heat + _NOISE_K * ndimage.gaussian_filter(noise.standard_normal(heat.shape), 1.0) * 3.0
    counts.append(np.clip(np.rint(KELVIN * heat), 1, 65_535))
    return np.stack(counts, axis=-1).astype(np.uint16)


def reflectance_of(seed: int, image: int, surface: Surface) -> FloatArray:
    """Reflectance of the ground in even light, 4HW."""
    rng = generator(seed, "glacier", image, "spectra")
    size = surface.height.shape[0]
    rock = _rock(rng, size)
    loose = 0.55 * rock + 0.45 * spectra.DUST[:, None, None]
    grain = np.exp(0.10 * fractal_field(rng, size, 3, 2, 0.8))
    ground = rock + surface.loose * (loose - rock)
    green = _sigmoid((surface.ice.ela - 950 + 120 * fractal_field(rng, size, 30, 4) - surface.height) / 90)
    green = green * np.clip(1.3 - 1.2 * slope_of(surface.height), 0, 1) * (1 - 0.7 * surface.loose)
    ground = ground + green * (spectra.MEADOW[:, None, None] - ground)
    ground = ground * grain
    dirt = _sigmoid((surface.ice.ela - surface.height - 250 + 130 * fractal_field(rng, size, 20, 4)) / 160)
    ice = spectra.CLEAN_ICE[:, None, None] * (1 - dirt) + spectra.DIRTY_ICE[:, None, None] * dirt
    ice = ice * np.exp(0.06 * fractal_field(rng, size, 4, 3, 0.8))
    hidden = np.clip(0.55 + 0.45 * (surface.debris - 1) / 0.5, 0, 1) * (surface.debris > 0)
    rubble = loose * np.exp(0.17 * fractal_field(rng, size, 2.2, 2, 0.9))
    cover = np.where(surface.ice.mask, ice + hidden * (rubble - ice), ground)
    age = _sigmoid((surface.ice.ela + 250 - surface.height) / 200 + 0.5 * smooth_field(rng, size, 40))
    snow = spectra.FRESH_SNOW[:, None, None] * (1 - age) + spectra.OLD_SNOW[:, None, None] * age
    share = surface.snow * (1 - 0.9 * hidden * (surface.height < surface.ice.ela))
    cover = cover + share * (snow - cover)
    for lake in surface.lakes:
        water = spectra.CLEAR_WATER * (1 - lake.turbidity) + spectra.TURBID_WATER * lake.turbidity
        cover.reshape(4, -1)[:, lake.pixels] = water[:, None]
    return np.asarray(cover)


def temperature_of(seed: int, image: int, surface: Surface, direct: FloatArray, air_k: float) -> FloatArray:
    """Surface temperature in kelvin, HW, blurred to 100 m.

    Rock and thick debris stand above the air's temperature by what the sun gives; ice and snow do not pass melting.
    Debris lets through less of the ice's cold the thicker it is (Nakawo and Young 1981, Ann. Glaciol. 2, 85).
    """
    rng = generator(seed, "glacier", image, "heat")
    size = surface.height.shape[0]
    air = air_k - LAPSE_K_M * (surface.height - LAPSE_FROM_M)
    warm = air + 7.0 + 7.0 * (np.clip(direct, 0, 1.5) - 0.8) + 0.9 * fractal_field(rng, size, 12, 3)
    cold = np.minimum(air - 1.5 + 0.4 * smooth_field(rng, size, 20), MELTING_K)
    thick = 1 - np.exp(-np.clip(surface.debris - 0.6, 0, None) * 1.1)
    ground = np.where(surface.ice.mask, cold + (surface.debris > 0) * thick * (warm - cold), warm)
    share = surface.snow * (1 - 0.9 * (surface.debris > 0))
    ground = ground + share * (np.minimum(cold, ground) - ground)
    for lake in surface.lakes:
        at = lake.pixels
        ground.ravel()[at] = np.maximum(air.ravel()[at] * 0.4 + 276.0 * 0.6, MELTING_K + 0.5)
    return np.asarray(ndimage.gaussian_filter(ground, THERMAL_SIGMA_PX))


def _rock(rng: np.random.Generator, size: int) -> FloatArray:
    """Rock of two or three kinds in bands and patches, 4HW."""
    kinds = rng.permutation(len(spectra.ROCKS))[:3]
    field = fractal_field(rng, size, 90, 5, 0.6)
    low, high = _sigmoid((field + 0.6) / 0.12), _sigmoid((field - 0.7) / 0.12)
    parts = np.stack([1 - low, low * (1 - high), low * high])
    parts /= parts.sum(axis=0)
    rock = np.einsum("khw,kb->bhw", parts, spectra.ROCKS[kinds])
    return np.asarray(rock * np.exp(0.13 * fractal_field(rng, size, 8, 3, 0.7)))


def _sigmoid(values: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -40, 40))))
