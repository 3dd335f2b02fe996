"""Statistics come from visible train pixels alone, whatever the channels and however the scene is cut into bands."""

import dataclasses

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.features.channels import ChannelRecipe
from pipeline.patches import ground as ground_module
from pipeline.patches.cut import channels
from pipeline.patches.ground import open_ground
from pipeline.patches.statistics import band_ranges, band_statistics
from pipeline.types import Window
from tests.unit.patches.samples import BANDS, PLAIN, TEXTURE

WHOLE = Window(0, 0, 96, 128)


@pytest.fixture(params=[None, 5 * 128], ids=["one band", "bands of five rows"])
def _bands(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(ground_module, "BAND_PIXELS", request.param)


@pytest.mark.usefixtures("_bands")
def test_statistics_are_those_of_the_visible_pixels(tiny_data):
    grounds = open_ground((d := tiny_data()).store, d.split)
    pixels = d.store.scenes[0].image[grounds[0].visible(WHOLE)].astype(np.float64)
    statistics = band_statistics(grounds, PLAIN)
    assert statistics.mean == pytest.approx(pixels.mean(axis=0))
    assert statistics.std == pytest.approx(pixels.std(axis=0))
    assert statistics.low == tuple(pixels.min(axis=0))
    assert statistics.high == tuple(pixels.max(axis=0))
    assert band_ranges(grounds) == (statistics.low, statistics.high)


@pytest.mark.usefixtures("_bands")
def test_statistics_of_channels_are_over_pixels_where_each_is_defined(tiny_data):
    grounds = open_ground((d := tiny_data()).store, d.split)
    values = channels(grounds[0], WHOLE, TEXTURE)[:, grounds[0].visible(WHOLE)].astype(np.float64)
    assert np.isnan(values).any(axis=1).tolist() == [False, False, False, False]
    statistics = band_statistics(grounds, TEXTURE)
    assert statistics.mean == pytest.approx(np.nanmean(values, axis=1))
    assert statistics.std == pytest.approx(np.nanstd(values, axis=1))
    assert statistics.low == tuple(np.nanmin(values, axis=1))
    assert statistics.high == tuple(np.nanmax(values, axis=1))


def test_pixels_where_an_index_is_undefined_do_not_count(tiny_data):
    """NDVI has no value where red and nir are 0: it has the statistics of the other pixels, red those of all."""
    data = tiny_data()
    image = data.store.scenes[0].image.copy()
    image[40:50, 40:50] = 0
    scene = data.store.scenes[0]
    object.__setattr__(scene, "image", image)
    grounds = [dataclasses.replace(open_ground(data.store, data.split)[0], scene=scene)]
    statistics = band_statistics(grounds, ChannelRecipe.named(BANDS, ("NDVI", "red"), None, 10000.0))
    pixels = image[grounds[0].visible(WHOLE)].astype(np.float64)
    red, nir = pixels[:, 2], pixels[:, 3]
    lit = red + nir > 0
    assert 0 < (~lit).sum() <= 100
    ndvi = ((nir - red) / np.where(lit, nir + red, 1))[lit]
    assert statistics.mean == pytest.approx((ndvi.mean(), red.mean()), rel=1e-5)
    assert statistics.std == pytest.approx((ndvi.std(), red.std()), rel=1e-5)


@pytest.mark.parametrize("recipe", [PLAIN, TEXTURE], ids=["plain", "texture"])
def test_garbage_in_held_out_ground_changes_no_statistic(tiny_data, recipe):
    clean, garbage = tiny_data("clean", buffer_m=25.0), tiny_data("garbage", held_out_garbage=1, buffer_m=25.0)
    one, two = (open_ground(d.store, d.split) for d in (clean, garbage))
    assert band_statistics(one, recipe) == band_statistics(two, recipe)
    assert band_ranges(one) == band_ranges(two)
    assert one[0].class_pixels.tolist() == two[0].class_pixels.tolist()


@pytest.mark.parametrize(("channels", "message"), [
    (BANDS, r"bands must vary over the train pixels: \['green'\] are constant; leave them out of task.bands"),
    (("nir", "green"), r"channels must vary over the train pixels: \['green'\] are constant; leave them out of task.c"),
])
def test_constant_channels_are_refused(tiny_data, channels, message):
    data = tiny_data()
    scene = data.store.scenes[0]
    image = scene.image.copy()
    image[..., 1] = 700
    object.__setattr__(scene, "image", image)
    grounds = [dataclasses.replace(open_ground(data.store, data.split)[0], scene=scene)]
    with pytest.raises(SceneError, match=message):
        band_statistics(grounds, ChannelRecipe.named(BANDS, channels, None, 10000.0))
    # A constant band that is no channel harms nothing.
    assert band_statistics(grounds, ChannelRecipe.named(BANDS, ("red", "nir"), None, 10000.0)).mean
    assert band_ranges(grounds)[0][1] == band_ranges(grounds)[1][1] == 700


def test_channels_that_are_nowhere_defined_are_refused(tiny_data):
    data = tiny_data()
    scene = data.store.scenes[0]
    image = scene.image.copy()
    image[..., 2:] = 0
    object.__setattr__(scene, "image", image)
    grounds = [dataclasses.replace(open_ground(data.store, data.split)[0], scene=scene)]
    with pytest.raises(SceneError, match=r"channels must be defined on train pixels: \['NDVI'\] are nowhere"):
        band_statistics(grounds, ChannelRecipe.named(BANDS, ("blue", "NDVI"), None, 10000.0))
