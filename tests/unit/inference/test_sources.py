"""Channels of a source are the same whatever windows are read, and come from bands by name."""

import numpy as np
import pytest
from affine import Affine

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.geo.grid import Grid
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.params.task import TextureParams
from pipeline.types import Window

BANDS = ("blue", "green", "red", "nir")
RECIPE = ChannelRecipe.named(BANDS, ("glcm_entropy_nir", "red", "NDVI"), TextureParams(window_px=7), 1e4)


class Shuffled:
    """A source with the same pixels whose bands stand in another order; it refuses windows beyond its edge."""

    def __init__(self, image_CHW, bands=("nir", "red", "green", "blue")):
        self.image, self.bands = image_CHW, bands
        self.grid = Grid("", Affine.identity(), *image_CHW.shape[1:])

    def read(self, window):
        assert min(window.row, window.col) >= 0
        assert window.row + window.height <= self.grid.height
        assert window.col + window.width <= self.grid.width
        return self.image[(slice(None), *window.slices)]

    def valid(self, window):
        return ~np.isnan(self.read(window)).any(axis=0)


def test_windows_give_what_the_whole_gives(tiny_data):
    pixels = ChannelPixels(StorePixels(tiny_data().store.scenes[0]), RECIPE)
    assert (pixels.bands, pixels.grid.shape) == (RECIPE.channels, (96, 128))
    whole = pixels.read(Window(0, 0, 96, 128))
    assert np.isnan(whole).any()  # the scene has an invalid corner
    for window in (Window(0, 0, 10, 10), Window(50, 60, 33, 21), Window(90, 120, 6, 8), Window(0, 64, 96, 1)):
        part = pixels.read(window)
        assert part.shape == (3, window.height, window.width)
        assert np.array_equal(part, whole[(slice(None), *window.slices)], equal_nan=True)


def test_bands_are_taken_by_name(tiny_data):
    store = StorePixels(tiny_data().store.scenes[0])
    whole = Window(0, 0, 96, 128)
    shuffled = Shuffled(store.read(whole)[::-1])
    assert np.array_equal(ChannelPixels(shuffled, RECIPE).read(Window(5, 6, 40, 50)),
                          ChannelPixels(store, RECIPE).read(Window(5, 6, 40, 50)), equal_nan=True)
    for bands in (BANDS[:3], (*BANDS, "swir1"), ("blue", "green", "red", "red")):
        with pytest.raises(ModelError, match="scene bands must be the model's"):
            ChannelPixels(Shuffled(store.read(whole), bands), RECIPE)


def test_an_undefined_channel_makes_no_hole():
    image = np.full((4, 8, 8), 100, dtype=np.float32)
    image[2:, 3, 3] = 0  # NDVI is 0/0 there
    image[:, 6:] = np.nan
    pixels = ChannelPixels(Shuffled(image[::-1]), RECIPE)
    assert np.isnan(pixels.read(Window(0, 0, 8, 8))[2, 3, 3])
    valid = pixels.valid(Window(0, 0, 8, 8))
    assert valid[:6].all()
    assert not valid[6:].any()
