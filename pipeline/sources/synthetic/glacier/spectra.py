"""Reflectances of what lies in high mountains, in the order blue, green, red, swir (1.6 um).

Levels follow field and image spectra of glaciers (Hall, Chang and Siddalingaiah 1988, Remote Sens. Environ. 25, 311;
Zeng et al. 1984, IAHS Publ. 145, 451): snow and ice are bright in visible light and dark in swir, water dark in swir
and, with glacial flour in it, bright in blue and green; debris is the rock it was broken from.
"""

import numpy as np

from pipeline.sources.synthetic.glacier.fields import FloatArray

BANDS = ("blue", "green", "red", "swir", "thermal")

FRESH_SNOW: FloatArray = np.array([0.86, 0.85, 0.83, 0.10])
OLD_SNOW: FloatArray = np.array([0.66, 0.66, 0.64, 0.055])
CLEAN_ICE: FloatArray = np.array([0.52, 0.51, 0.45, 0.035])
DIRTY_ICE: FloatArray = np.array([0.27, 0.28, 0.27, 0.075])
#: Kinds of rock: grey gneiss, dark slate, brown schist, pale limestone or granite.
ROCKS: FloatArray = np.array([
    [0.130, 0.145, 0.160, 0.220],
    [0.075, 0.085, 0.092, 0.125],
    [0.095, 0.120, 0.155, 0.265],
    [0.205, 0.230, 0.250, 0.300],
])
#: What weathering and dust make of loose ground: paler, the same on ice and off it.
DUST: FloatArray = np.array([0.150, 0.172, 0.188, 0.245])
MEADOW: FloatArray = np.array([0.045, 0.075, 0.070, 0.190])
CLEAR_WATER: FloatArray = np.array([0.045, 0.042, 0.026, 0.006])
TURBID_WATER: FloatArray = np.array([0.150, 0.178, 0.135, 0.014])
