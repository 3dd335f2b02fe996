import numpy as np
import pytest

from pipeline.errors import ParamsError, SceneError
from pipeline.features.indices import compute, index_bands

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
    with pytest.raises(ParamsError, match="it needs 'kNN'"):
        index_bands("kNDVI", BANDS)
