"""A scene in another unit or pixel size than the model's is told apart from one that only looks odd."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.exporters.scene_checks import check_pixels
from pipeline.features.channels import ChannelRecipe
from pipeline.geo.grid import Grid
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.types import FloatArray, Window

BANDS = ("red", "nir")
#: Of a network that sees one ratio of the bands, whose range says nothing of units.
FACTS = ModelFacts(ChannelRecipe.named(BANDS, ("NDVI",), None, 1e4), ("a", "b"), ("#000000", "#ffffff"), "a", (-0.5,),
                   (0.8,), (100.0, 50.0), (3000.0, 6000.0), 8, 10.0, "")


class Values:
    """An open scene of 4 x 5 px with given values."""

    asks_about_zeros = False

    def __init__(self, red: object, nir: object, pixel_m: float = 10.0) -> None:
        self.grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(pixel_m, 0, 5e5, 0, -pixel_m, 9.9e6), 4, 5)
        self.values = np.stack([np.broadcast_to(np.asarray(v, np.float32), (4, 5)) for v in (red, nir)])

    def read(self, window: Window) -> FloatArray:
        return self.values[:, window.slices[0], window.slices[1]]


def check(scene: Values, facts: ModelFacts = FACTS) -> None:
    check_pixels("s", scene, facts, rows=3)  # type: ignore[arg-type]


def half(inside: float, outside: float, count: int) -> np.ndarray:
    return np.array([outside] * count + [inside] * (20 - count)).reshape(4, 5)


def test_known_values_pass_and_half_may_lie_outside() -> None:
    check(Values(500, 2000))
    check(Values(half(500, 9000, 10), 2000))
    with pytest.raises(SceneError, match=r"45\.0% are, as red runs from 500 to 9000 and the model has seen 100 to "
                                         "3000; the model does not suit|--scale"):
        check(Values(half(500, 9000, 11), 2000))


def test_reflectance_for_a_model_of_digital_numbers() -> None:
    with pytest.raises(SceneError, match=r"red runs from 0\.1 to 0\.1 .*--scale 10000"):
        check(Values(0.1, 0.3))
    zero = replace(FACTS, band_low=(0.0, 0.0))  # where the darkest seen is 0, reflectance lies inside the range
    with pytest.raises(SceneError, match=r"brighter than a fiftieth .* in some band: 100\.0% of its pixels are not"):
        check(Values(0.1, 0.3), zero)
    check(Values(5, 2000), zero)  # a dark band alone is no other unit


def test_digital_numbers_for_a_model_of_reflectance() -> None:
    facts = replace(FACTS, band_low=(0.01, 0.005), band_high=(0.3, 0.6))
    with pytest.raises(SceneError, match=r"--scale 0\.0001"):
        check(Values(1500, 3000), facts)


def test_one_hot_pixel_hides_no_wrong_unit() -> None:
    zero = replace(FACTS, band_low=(0.0, 0.0))
    values = np.full((4, 5), 0.2)
    check(Values(half(0.2, 2000, 1), 0.3), zero)  # one of twenty pixels is bright: more than 1 %
    with pytest.raises(SceneError, match="fiftieth"):
        check(Values(values, values), zero)


def test_invalid_pixels_do_not_count() -> None:
    check(Values(half(500, np.nan, 19), half(2000, np.nan, 19)))
    with pytest.raises(SceneError, match=r"\['red', 'nir'\]: got none in 4x5"):
        check(Values(np.nan, np.nan))


@pytest.mark.parametrize("pixel_m", [5.05, 19.9])
def test_pixel_sizes_within_a_factor_of_two(pixel_m: float) -> None:
    check(Values(500, 2000, pixel_m))


@pytest.mark.parametrize("pixel_m", [4.9, 20.2])
def test_pixel_sizes_beyond(pixel_m: float) -> None:
    with pytest.raises(SceneError, match="half to twice the 10 m"):
        check(Values(500, 2000, pixel_m))
