"""What a Sentinel-2-like sensor makes of the ground: point spread, 10 m pixels, haze, thin cloud, noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.sources.synthetic.noise import DRAW_M, PIXEL_M, SUBPIXELS, Field, FloatArray, stream

PSF_SIGMA_M = 4.8
REACH = 8  # 2 m pixels on each side that the point spread reads: 3.5 sigma
NOISE = (0.0012, 0.0011, 0.0012, 0.0018)
SKY: FloatArray = np.array([0.034, 0.022, 0.013, 0.005], dtype=np.float32)
CLOUD: FloatArray = np.array([0.48, 0.47, 0.47, 0.49], dtype=np.float32)


def spread_weights() -> FloatArray:
    """Weights of the 2 m pixels around a 10 m pixel, one axis: Gaussian spread, then the average."""
    offsets = np.arange(-REACH, REACH + 1) * DRAW_M
    gauss = np.exp(-0.5 * (offsets / PSF_SIGMA_M) ** 2)
    weights = np.convolve(gauss, np.ones(SUBPIXELS))
    normed: FloatArray = (weights / weights.sum()).astype(np.float32)
    return normed


def observe(ground: FloatArray) -> FloatArray:
    """Average 2 m ground to 10 m pixels through the point spread.

    Args:
        ground: (bands, 5 * rows + 2 * REACH, 5 * cols): REACH more rows at both ends; columns are extended.

    Returns:
        (bands, rows, cols).
    """
    weights = spread_weights()
    rows = (ground.shape[1] - 2 * REACH) // SUBPIXELS
    cols = ground.shape[2] // SUBPIXELS
    down = np.zeros((ground.shape[0], rows, ground.shape[2]), dtype=np.float32)
    for offset, weight in enumerate(weights):
        down += weight * ground[:, offset : offset + SUBPIXELS * (rows - 1) + 1 : SUBPIXELS]
    wide = np.pad(down, ((0, 0), (0, 0), (REACH, REACH)), mode="edge")
    seen = np.zeros((ground.shape[0], rows, cols), dtype=np.float32)
    for offset, weight in enumerate(weights):
        seen += weight * wide[:, :, offset : offset + SUBPIXELS * (cols - 1) + 1 : SUBPIXELS]
    return seen


def weather(image: FloatArray, seed: int) -> FloatArray:
    """Put haze that grows across the scene, one thin cloud with its shadow, and noise on an image (4, h, w)."""
    rng = stream(seed, "weather")
    size = image.shape[1]
    rows, cols = (np.indices((size, size), dtype=np.float32) + 0.5) / size
    turn = rng.uniform(0, 2 * np.pi)
    slope = 0.5 + 0.5 * (np.cos(turn) * (rows - 0.5) + np.sin(turn) * (cols - 0.5))
    haze = (rng.uniform(0.15, 0.35) * slope)[None]
    seen = image * (1 - 0.35 * haze) + SKY[:, None, None] * haze

    middle = rng.uniform(0.25, 0.75, 2)
    ragged = Field.random(rng, size, size * PIXEL_M / 14).values
    reach = rng.uniform(0.055, 0.08)

    def thickness(down: int, right: int) -> FloatArray:
        away = np.hypot(rows - down / size - middle[0], (cols - right / size - middle[1]) * 0.7) / reach
        depth = np.clip(1.15 - away + 0.35 * ragged[:size, :size], 0, 1)
        smooth: FloatArray = (depth * depth * (3 - 2 * depth)).astype(np.float32)
        return smooth

    aside = int(0.10 * size)
    seen *= 1 - 0.22 * thickness(-aside, aside)[None]
    veil = 0.20 * thickness(0, 0)[None]
    seen = seen * (1 - veil) + CLOUD[:, None, None] * veil
    for band, deviation in enumerate(NOISE):
        seen[band] += rng.normal(0, deviation, (size, size)).astype(np.float32)
    noisy: FloatArray = seen.astype(np.float32)
    return noisy


def nodata_corner(seed: int, size: int) -> npt.NDArray[np.bool_]:
    """Pixels (h, w) beyond the edge of the swath: a slanted corner, true where there is nothing."""
    rng = stream(seed, "swath")
    rows, cols = np.indices((size, size)) + 0.5
    height, width = size * rng.uniform(0.12, 0.2), size * rng.uniform(0.08, 0.14)
    outside: npt.NDArray[np.bool_] = (size - rows) / height + cols / width < 1
    return outside


def quantise(image: FloatArray, outside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Reflectance x 10,000 as uint16, at least 1 where there is data and 0 where there is none."""
    counts = np.clip(np.rint(image * 10_000), 1, 65_535).astype(np.uint16)
    counts[:, outside] = 0
    return counts
