"""Tiles cover each pixel, blend without seams, and their memory does not grow with the raster's height."""

import numpy as np
import pytest
from affine import Affine

from pipeline.errors import ModelError
from pipeline.geo.grid import Grid
from pipeline.geo.windows import row_bands, tile_starts
from pipeline.inference.mosaic import decide
from pipeline.inference.tiles import predict
from pipeline.params.evaluate import TileParams
from tests.unit.inference.whole_maps import class_bands


class Raster:
    """An image in memory that remembers the largest window asked for."""

    def __init__(self, image_CHW, bands=("red", "nir")):
        self.image, self.bands = image_CHW.astype(np.float32), bands
        self.grid = Grid("", Affine.identity(), *image_CHW.shape[1:])
        self.largest = 0

    def read(self, window):
        self.largest = max(self.largest, window.height * window.width)
        assert window.row >= 0
        assert window.row + window.height <= self.grid.height
        return self.image[(slice(None), *window.slices)]

    def valid(self, window):
        return ~np.isnan(self.read(window)).any(axis=0)


class Threshold:
    """Two classes: the probability of the second is the first band's value; everything else is told by name."""

    bands, classes = ("red", "nir"), ("low", "high")

    def probabilities(self, image_NCHW):
        high = np.nan_to_num(image_NCHW[:, 0])
        return np.stack([1 - high, high], axis=1)


@pytest.mark.parametrize("shape", [(70, 90), (64, 64), (20, 200), (33, 31)])
def test_a_pixelwise_predictor_is_reproduced_exactly_whatever_the_tiles(shape):
    image = np.random.default_rng(0).random((2, *shape))
    bands = list(predict(Threshold(), Raster(image), TileParams(size_px=32, overlap_px=8)))
    assert sum(w.height for w, _ in bands) == shape[0]
    stitched = np.concatenate([p for _, p in bands], axis=1)
    assert stitched[1] == pytest.approx(image[0], abs=1e-6)
    assert stitched.sum(axis=0) == pytest.approx(np.ones(shape), abs=1e-6)


def test_bands_are_taken_by_name_not_by_place():
    image = np.random.default_rng(1).random((2, 40, 40))
    swapped = Raster(image[::-1], bands=("nir", "red"))
    bands = list(class_bands(Threshold(), swapped, TileParams(size_px=32, overlap_px=8)))
    classes = np.concatenate([ids for _, ids in bands])
    assert np.array_equal(classes, (image[0] > 0.5).astype(np.uint8))


def test_other_bands_are_refused():
    with pytest.raises(ModelError, match=r"must be the model's \['red', 'nir'\]: got \['red', 'swir'\]"):
        list(predict(Threshold(), Raster(np.zeros((2, 40, 40)), bands=("red", "swir")),
                     TileParams(size_px=32, overlap_px=8)))


def test_invalid_pixels_have_no_class():
    image = np.full((2, 40, 40), 0.9)
    image[1, 3, 4] = np.nan
    bands = list(class_bands(Threshold(), Raster(image), TileParams(size_px=32, overlap_px=8)))
    assert [window.row for window, _ in bands] == [0, 8]
    classes = np.concatenate([ids for _, ids in bands])
    assert classes[3, 4] == 255
    confidence = decide(np.array([[[0.3, 0.6]], [[0.7, 0.4]]], dtype=np.float32), np.array([[True, False]]))[1]
    assert confidence[0, 0] == np.float32(0.7)
    assert np.isnan(confidence[0, 1])
    assert (np.delete(classes.ravel(), 3 * 40 + 4) == 1).all()


def test_reads_never_exceed_a_tile():
    raster = Raster(np.zeros((2, 300, 50)))
    for window, probs in predict(Threshold(), raster, TileParams(size_px=32, overlap_px=16)):
        assert probs.shape[1:] == (window.height, 50)
        assert window.height <= 32
    assert raster.largest <= 32 * 32


@pytest.mark.parametrize(("length", "expected"), [
    (10, [0]), (32, [0]), (33, [0, 1]), (80, [0, 24, 48]), (81, [0, 24, 48, 49])])
def test_tile_starts(length, expected):
    assert tile_starts(length, 32, 8) == expected


def test_row_bands_cover_each_row_once():
    assert [(w.row, w.height) for w in row_bands(10, 5, 4)] == [(0, 4), (4, 4), (8, 2)]
