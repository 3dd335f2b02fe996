"""Spectral indices by hand, by name of band, NaN where undefined, and which of them are not offered."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ParamsError, SceneError
from pipeline.features.indices import WAVELENGTHS_NM, compute, index_bands

BANDS = ("blue", "green", "red", "nir", "swir1")


def pixel(*values: float) -> np.ndarray:
    return np.array([[values]], dtype=np.float32)


@pytest.mark.parametrize(("index", "expected"), [
    ("NDVI", (0.4 - 0.1) / (0.4 + 0.1)),
    ("NDWI", (0.2 - 0.4) / (0.2 + 0.4)),
    ("MNDWI", (0.2 - 0.3) / (0.2 + 0.3)),
    ("EVI", 2.5 * (0.4 - 0.1) / (0.4 + 6.0 * 0.1 - 7.5 * 0.05 + 1.0)),
])
def test_formulas_by_hand(index: str, expected: float) -> None:
    result = compute(index, pixel(0.05, 0.2, 0.1, 0.4, 0.3), BANDS)
    assert result.dtype == np.float32
    assert result.shape == (1, 1)
    assert result[0, 0] == pytest.approx(expected, rel=1e-6)


def test_bands_are_found_by_name_not_place() -> None:
    forward = compute("NDVI", pixel(0.1, 0.4), ("red", "nir"))
    assert forward == compute("NDVI", pixel(0.4, 0.1), ("nir", "red"))
    assert index_bands("NDMI", ("nir", "swir16")) == {"N": "nir", "S1": "swir16"}


def test_undefined_is_nan_and_silent() -> None:
    image = np.array([[[0.0, 0.0], [np.nan, 0.2], [0.1, 0.3]]], dtype=np.float32)
    assert np.isnan(compute("NDVI", image, ("red", "nir"))).tolist() == [[True, True, False]]


def test_a_window_is_a_cut_of_the_whole() -> None:
    image = np.random.default_rng(0).random((20, 30, 5), dtype=np.float32)
    assert np.array_equal(compute("EVI", image, BANDS)[5:9], compute("EVI", image[5:9], BANDS))


def test_refusals() -> None:
    with pytest.raises(ParamsError, match="got 'NDVX'; did you mean NDVI"):
        index_bands("NDVX", BANDS)
    with pytest.raises(SceneError, match="NDVI needs a band named nir: got"):
        compute("NDVI", pixel(0.1), ("red",))
    with pytest.raises(SceneError, match="swir2 or swir22"):
        index_bands("NBR", BANDS)


def test_wavelengths_are_those_of_sentinel_2(project: Path) -> None:
    import spyndex

    known = {f"lambda{symbol}": getattr(spyndex.bands, symbol).sentinel2a.wavelength
             for symbol in ("G", "R", "N", "N2", "S1", "S2")}
    assert known == WAVELENGTHS_NM
    documented = (project / "docs/channels.md").read_text(encoding="utf-8")
    assert all(f"{value:g}" in documented for value in known.values())


@pytest.mark.parametrize(("index", "expected"), [
    ("FAI", 0.4 - (0.1 + (0.3 - 0.1) * (832.8 - 664.6) / (1613.7 - 664.6))),
    ("DVIplus", (168.2 / 273.0) * 0.2 + (1 - 168.2 / 273.0) * 0.4 - 0.1),
    ("NIRvH2", 0.4 - 0.1),
])
def test_formulas_that_need_wavelengths(index: str, expected: float) -> None:
    assert set(index_bands(index, BANDS).values()) <= set(BANDS), "wavelengths are no bands"
    assert compute(index, pixel(0.05, 0.2, 0.1, 0.4, 0.3), BANDS)[0, 0] == pytest.approx(expected, rel=1e-6)


EXCLUDED = {
    "which is radar backscatter, not reflectance": [
        "DPDD", "DpRVIHH", "DpRVIVV", "NDPolI", "QpRVI", "RFDI", "VDDPI", "VHVVD", "VHVVP", "VHVVR", "VVVHD", "VVVHR",
        "VVVHS"],
    "which is a kernel between two bands": ["kEVI", "kIPVI", "kNDVI", "kRVI", "kVARI"],
    "PAR is the light that falls on it": ["NIRvP"],
}


def test_the_documented_indices_are_excluded_and_no_other(project: Path) -> None:
    import spyndex

    bands = sorted({symbol.common_name for symbol in spyndex.bands.values()} | {"coastal", "nir2"})
    refused = {}
    for index in spyndex.indices:
        try:
            index_bands(index, bands)
        except ParamsError as error:
            refused[index] = str(error)
    assert sorted(refused) == sorted(name for names in EXCLUDED.values() for name in names)
    documented = (project / "docs/channels.md").read_text(encoding="utf-8")
    for reason, names in EXCLUDED.items():
        assert all(reason in refused[name] for name in names)
        assert all(name in documented for name in names)
