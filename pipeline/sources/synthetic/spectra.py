"""Reflectances of what the city is made of, in the order blue, green, red, nir.

The levels follow a Sentinel-2 city measured at points: impervious 0.129/0.137/0.142/0.166, dense vegetation
0.025/0.038/0.039/0.205, thin vegetation 0.072/0.096/0.128/0.269, water 0.031/0.045/0.029/0.013. Impervious
materials are a level in red times a shape, which makes their bands as correlated as the measured ones.
"""

from __future__ import annotations

import numpy as np

from pipeline.sources.synthetic.noise import FloatArray, lognormal_table

BANDS = ("blue", "green", "red", "nir")

# Shapes: reflectance relative to red. Rows are looked up by the material codes below.
GREY, METAL, TILE, RUST, ASPHALT, EARTH = range(6)
SHAPES: FloatArray = np.array(
    [
        [0.95, 0.98, 1.00, 1.10],
        [1.01, 1.00, 1.00, 1.06],
        [0.75, 0.86, 1.00, 1.22],
        [0.78, 0.87, 1.00, 1.20],
        [0.97, 0.99, 1.00, 1.08],
        [0.66, 0.80, 1.00, 1.30],
    ],
    dtype=np.float32,
)

DENSE_VEGETATION: FloatArray = np.array([0.025, 0.038, 0.036, 0.215], dtype=np.float32)
THIN_VEGETATION: FloatArray = np.array([0.060, 0.086, 0.105, 0.275], dtype=np.float32)
WATER: FloatArray = np.array([0.031, 0.045, 0.029, 0.013], dtype=np.float32)

# Levels in red. Small roofs are those of one lot, large ones those of a hall, mall or apartment block.
SMALL_ROOF = lognormal_table(0.178, 0.30, 0.04, 0.55)
LARGE_ROOF = lognormal_table(0.215, 0.48, 0.06, 0.65)
SHANTY_ROOF = lognormal_table(0.180, 0.33, 0.06, 0.45)
CONTAINER = lognormal_table(0.14, 0.42, 0.04, 0.40)
ROW_ROOF = lognormal_table(0.15, 0.28, 0.06, 0.40)
PAVING = lognormal_table(0.122, 0.25, 0.07, 0.28)


def shaped(level: FloatArray, material: np.ndarray) -> FloatArray:
    """Reflectance (4, n) of impervious or bare ground: level in red times the shape of its material."""
    return np.ascontiguousarray((SHAPES[material] * level[:, None]).T)
