"""One walk gives the maps that as many walks would give, and does no forward pass twice or in vain."""

from collections import Counter

import numpy as np
import pytest
from affine import Affine

from pipeline.errors import ModelError
from pipeline.geo.grid import Grid
from pipeline.inference.ensemble import Mean, held_out, walk
from pipeline.inference.tiles import predict
from pipeline.inference.tta import VIEWS, average, d4, seen, turned_back
from pipeline.params.evaluate import TileParams
from pipeline.types import BoolArray, FloatArray, UInt8Array, Window

TILES = TileParams(size_px=32, overlap_px=8)
HEIGHT, WIDTH = 70, 90


class Raster:
    """Noise in one channel; counts what is read."""

    bands = ("a",)

    def __init__(self) -> None:
        self.grid = Grid("", Affine.identity(), HEIGHT, WIDTH)
        self.image = np.random.default_rng(0).normal(size=(1, HEIGHT, WIDTH)).astype(np.float32)
        self.read_windows: Counter[Window] = Counter()

    def read(self, window: Window) -> FloatArray:
        self.read_windows[window] += 1
        return self.image[(slice(None), *window.slices)]

    def valid(self, window: Window) -> BoolArray:
        return np.ones((window.height, window.width), dtype=np.bool_)


class Three:
    """Three members, each a blur of its own to the right and down (so turns matter), then two classes."""

    bands, classes = ("a",), ("no", "yes")

    def __init__(self) -> None:
        self.passes: Counter[int] = Counter()

    def of(self, place: int, image_NCHW: FloatArray) -> FloatArray:
        self.passes[place] += 1
        x = np.nan_to_num(image_NCHW[:, 0])
        x = x + 0.5 * np.roll(x, place + 1, axis=-1) + 0.25 * np.roll(x, 1, axis=-2)
        yes = 1 / (1 + np.exp(-(place + 1) * x))
        return np.stack([1 - yes, yes], axis=1).astype(np.float32)

    def views_of(self, place: int, image_NCHW: FloatArray) -> list[FloatArray]:
        return d4(lambda image: self.of(place, image), image_NCHW)


class Alone:
    """Some of the members as a predictor."""

    bands, classes = Three.bands, Three.classes

    def __init__(self, *places: int, tta: bool = False) -> None:
        self._places, self._tta = places, tta

    def probabilities(self, image_NCHW: FloatArray) -> FloatArray:
        network = Three()
        return average([average(network.views_of(p, image_NCHW)) if self._tta else network.of(p, image_NCHW)
                        for p in self._places])


def alone(*places: int, tta: bool = False) -> FloatArray:
    return np.concatenate([probs for _, probs in predict(Alone(*places, tta=tta), Raster(), TILES)], axis=1)


def walked(maps: dict[str, Mean], network: Three, source: Raster, fold_HW: UInt8Array | None = None) -> dict[
        str, FloatArray]:
    folds_of = None if fold_HW is None else lambda window: fold_HW[window.slices]
    bands = [probs for _, probs in walk(network, maps, source, TILES, folds_of)]
    return {name: np.concatenate([band[name] for band in bands], axis=1) for name in maps}


def test_maps_are_bit_for_bit_those_of_walks_of_their_own() -> None:
    maps = {"all": Mean((0, 1, 2)), "one": Mean((1,)), "turned": Mean((0, 1, 2), tta=True)}
    made = walked(maps, Three(), Raster())
    assert np.array_equal(made["all"], alone(0, 1, 2))
    assert np.array_equal(made["one"], alone(1))
    assert np.array_equal(made["turned"], alone(0, 1, 2, tta=True))


def test_every_tile_is_read_once_and_passed_once_a_member() -> None:
    network, source = Three(), Raster()
    walked({"all": Mean((0, 1, 2)), "one": Mean((1,))}, network, source)
    tiles = 3 * 4
    assert set(source.read_windows.values()) == {1}
    assert len(source.read_windows) == tiles
    assert dict(network.passes) == {0: tiles, 1: tiles, 2: tiles}
    network = Three()
    walked({"all": Mean((0, 1, 2)), "turned": Mean((0, 1, 2), tta=True)}, network, Raster())
    assert dict(network.passes) == {0: 8 * tiles, 1: 8 * tiles, 2: 8 * tiles}


def test_by_fold_each_pixel_is_that_of_the_members_that_held_it_out() -> None:
    fold_HW = np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), size=(HEIGHT, WIDTH))
    rule = Mean(by_fold=held_out([0, 1, 0]))
    assert rule.by_fold == {0: (0, 2), 1: (1,)}
    made = walked({"apart": rule, "apart turned": Mean(by_fold=rule.by_fold, tta=True)}, Three(), Raster(), fold_HW)
    for fold, places in ((0, (0, 2)), (1, (1,))):
        inside = fold_HW == fold
        assert np.array_equal(made["apart"][:, inside], alone(*places)[:, inside])
        assert np.array_equal(made["apart turned"][:, inside], alone(*places, tta=True)[:, inside])


def test_ground_of_no_fold_costs_nothing() -> None:
    fold_HW = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    fold_HW[:8, :8], fold_HW[-4:, -4:] = 0, 1  # each in one tile only
    network, source = Three(), Raster()
    made = walked({"apart": Mean(by_fold=held_out([0, 1, 2]))}, network, source, fold_HW)
    assert dict(network.passes) == {0: 1, 1: 1}
    assert sum(source.read_windows.values()) == 2
    assert np.array_equal(made["apart"][:, :8, :8], alone(0)[:, :8, :8])
    assert np.array_equal(made["apart"][:, -4:, -4:], alone(1)[:, -4:, -4:])


def test_other_channels_are_refused() -> None:
    network = Three()
    network.bands = ("b",)
    with pytest.raises(ModelError, match=r"scene channels must be the model's \['b'\]: got \['a'\]"):
        list(walk(network, {"all": Mean((0,))}, Raster(), TILES))


def test_views_are_the_eight_of_a_square_and_turn_back() -> None:
    image = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    views = [seen(image, view) for view in VIEWS]
    assert len({(view.shape, view.tobytes()) for view in views}) == 8
    assert np.array_equal(views[0], image)
    assert views[1][0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert views[4][0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    for view in VIEWS:
        assert np.array_equal(turned_back(seen(image, view), view), image)


def test_the_average_over_views_commutes_with_every_view() -> None:
    """What a single pass of these members does not."""
    network, image = Three(), np.random.default_rng(2).normal(size=(1, 1, 8, 8)).astype(np.float32)
    mean = average(network.views_of(0, image))
    for view in VIEWS[1:]:
        turned = average(network.views_of(0, seen(image, view)))
        np.testing.assert_allclose(turned_back(turned, view), mean, atol=1e-6)
        assert not np.allclose(turned_back(network.of(0, seen(image, view)), view), network.of(0, image), atol=1e-3)
    np.testing.assert_allclose(mean.sum(axis=1), 1, atol=1e-6)


def test_an_average_of_one_is_itself_and_of_two_by_hand() -> None:
    one = np.array([[0.25, 0.75]], dtype=np.float32)
    assert np.array_equal(average([one]), one)
    assert average([one])[0] is not one[0]
    assert average([one, np.array([[0.75, 0.25]], dtype=np.float32)]).tolist() == [[0.5, 0.5]]
