"""Changes of values, by hand: in scene units, scaled by each band's deviation, before channels are computed."""

import numpy as np
import pytest

from pipeline.params.augment import AugmentParams
from pipeline.patches.augment.values import value_changes
from pipeline.patches.statistics import BandStatistics

BANDS = ("blue", "thermal", "dem")
#: A reflectance in digital numbers, a temperature in degrees Celsius, a height.
STATISTICS = BandStatistics((1000.0, 5.0, 3000.0), (200.0, 4.0, 500.0), (100.0, -20.0, 1000.0), (9000.0, 30.0, 5000.0))


class Fixed:
    """A generator whose uniform numbers are all the same share of their range, and whose normal numbers are 1."""

    def __init__(self, share, size_by_band=()):
        self._share, self._by_band = share, size_by_band

    def uniform(self, low, high, size=None):
        value = low + self._share * (high - low)
        return value if size is None else np.full(size, value)

    def random(self, size=None):
        return self._share if size is None else np.array(self._by_band or [self._share] * size)

    def integers(self, high):
        return high - 1

    def standard_normal(self, shape, dtype):
        return np.ones(shape, dtype)


def changed(image, rng, **settings):
    changes = value_changes(AugmentParams(**settings), BANDS, STATISTICS)
    return changes(np.array(image, np.float32).reshape(3, 1, -1), rng)[:, 0]


IMAGE = [[1000, 1400, 50, np.nan], [5, 9, -3, np.nan], [3000, 2500, 1000, np.nan]]


def test_nothing_is_changed_where_nothing_is_asked_for():
    assert value_changes(AugmentParams(), BANDS, STATISTICS) is None
    assert value_changes(AugmentParams(shift=0.1, cutmix=0.5), BANDS, STATISTICS) is None


@pytest.mark.parametrize("setting", ["brightness", "band_brightness"])
def test_brightness_shifts_by_deviations(setting):
    np.testing.assert_allclose(changed(IMAGE, Fixed(1), **{setting: 0.5}),
                               [[1100, 1500, 150, np.nan], [7, 11, -1, np.nan], [3250, 2750, 1250, np.nan]])
    np.testing.assert_allclose(changed(IMAGE, Fixed(0), **{setting: 0.5})[1], [3, 7, -5, np.nan])


def test_brightness_is_one_number_and_band_brightness_one_a_band():
    def shifts(**settings):
        return (changed(IMAGE, np.random.default_rng(0), **settings)[:, 0] - [1000, 5, 3000]) / [200, 4, 500]

    together, apart = shifts(brightness=1), shifts(band_brightness=1)
    np.testing.assert_allclose(together, together[0], rtol=1e-4)
    assert np.ptp(apart) > 0.1


def test_contrast_is_about_the_mean():
    np.testing.assert_allclose(changed(IMAGE, Fixed(1), contrast=0.5)[0], [1000, 1600, 0, np.nan])
    np.testing.assert_allclose(changed(IMAGE, Fixed(0), contrast=0.5)[1], [5, 5 + 4 / 1.5, 5 - 8 / 1.5, np.nan],
                               rtol=1e-6)


def test_gamma_keeps_the_least_value_and_the_white():
    # low 100, white 1400: 1000 is 9 / 13 of the way.
    np.testing.assert_allclose(changed([[100, 1400, 1000, 50], [0] * 4, [0] * 4], Fixed(1), gamma=1)[0],
                               [100, 1400, 100 + 1300 * (9 / 13) ** 2, 50], rtol=1e-6)
    np.testing.assert_allclose(changed([[0] * 2, [-20, -11.75], [0] * 2], Fixed(0), gamma=1)[1],
                               [-20, -20 + 33 * 0.5], rtol=1e-6)
    assert np.isnan(changed(IMAGE, Fixed(1), gamma=1)[:, 3]).all()


def test_noise_is_in_deviations_and_up_to_the_limit():
    np.testing.assert_allclose(changed(IMAGE, Fixed(0.5), noise=0.2)[:, 0], [1020, 5.4, 3050], rtol=1e-6)
    many = np.stack([np.full((40, 40), mean, np.float32) for mean in STATISTICS.mean])
    deviations = [value_changes(AugmentParams(noise=0.3), BANDS, STATISTICS)(many.copy(), np.random.default_rng(s))
                  .std(axis=(1, 2)) / STATISTICS.std for s in range(200)]
    assert 0.25 < np.max(deviations) < 0.33
    assert np.min(deviations) < 0.05
    # One strength for all bands of a patch.
    assert np.ptp(deviations, axis=1).max() < 0.05


def test_bands_that_are_never_negative_stay_so():
    image = changed([[10, 300], [-18, 0], [1200, 1300]], Fixed(0), brightness=5)
    assert image[0].tolist() == [0, 0]
    assert image[1].tolist() == [-38, -20]
    assert image[2].tolist() == [0, 0]


def test_a_dropped_band_is_undefined_and_one_stays():
    image = changed(IMAGE, Fixed(1, [0.1, 0.9, 0.3]), band_dropout=0.2)
    assert np.isnan(image[0]).all()
    np.testing.assert_array_equal(image[1:], np.array(IMAGE[1:], np.float32))
    image = changed(IMAGE, Fixed(1, [0.1, 0.1, 0.1]), band_dropout=0.2)
    assert np.isnan(image[:2]).all()
    np.testing.assert_array_equal(image[2], np.array(IMAGE[2], np.float32))


def test_only_value_bands_are_changed():
    image = changed(IMAGE, Fixed(1, [0, 0, 0]), brightness=0.5, noise=0.1, value_bands=("blue", "dem"), gamma=0.2)
    np.testing.assert_array_equal(image[1], np.array(IMAGE[1], np.float32))
    assert (image[[0, 2], :3] != np.array(IMAGE)[[0, 2], :3]).all()
    # All that may drop out may drop out where another band stays.
    image = changed(IMAGE, Fixed(1, [0, 0, 0]), band_dropout=0.5, value_bands=("blue", "dem"))
    assert np.isnan(image).all(axis=1).tolist() == [True, False, True]


def test_a_constant_band_is_left_alone():
    flat = BandStatistics((7.0,), (0.0,), (7.0,), (7.0,))
    changes = value_changes(AugmentParams(brightness=1, gamma=1, noise=1, contrast=1), ("flag",), flat)
    np.testing.assert_allclose(changes(np.full((1, 2, 2), 7, np.float32), np.random.default_rng(0)), 7, rtol=1e-6)
