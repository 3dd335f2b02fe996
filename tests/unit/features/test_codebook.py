"""Codes of a codebook hold equal shares, as counted by hand, whatever scale and order the bands have."""

import numpy as np
import pytest

from pipeline.features.codebook import grow


def test_codes_hold_equal_shares_of_the_sample() -> None:
    sample = np.random.default_rng(0).lognormal(0, 1, (6400, 3))
    codebook = grow(sample, 5)
    assert codebook.codes == 32
    shares = np.bincount(codebook.encode(sample), minlength=32)
    assert shares.min() >= 198
    assert shares.max() <= 202


def test_one_level_halves_the_long_axis_by_hand() -> None:
    sample = np.array([[0.0, 5.0], [1.0, 5.0], [8.0, 5.0], [9.0, 5.0]])  # the second band is constant
    codes = grow(sample, 1).encode(sample)
    assert codes[0] == codes[1] != codes[2] == codes[3]


def test_scale_and_order_of_bands_do_not_matter_for_what_is_told_apart() -> None:
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 4, 4000)
    sample = np.stack([kind % 2 + rng.normal(0, 0.05, 4000), 1e4 * (kind // 2) + rng.normal(0, 500, 4000)], axis=1)
    codes = grow(sample, 3).encode(sample)
    # every code belongs almost wholly to one kind
    table = np.zeros((4, 8))
    np.add.at(table, (kind, codes), 1)
    assert table.max(axis=0).sum() / 4000 > 0.97


def test_encoding_needs_no_sample_pixel() -> None:
    sample = np.random.default_rng(2).normal(size=(1000, 4))
    codebook = grow(sample, 6)
    far = codebook.encode(np.array([[1e6] * 4, [-1e6] * 4]))
    assert far.dtype == np.uint8
    assert (far < 64).all()


@pytest.mark.parametrize(("pixels", "levels"), [(7, 3), (100, 0), (1000, 9)])
def test_too_few_pixels_or_levels_out_of_range(pixels: int, levels: int) -> None:
    with pytest.raises(ValueError, match="a pixel for each code"):
        grow(np.random.default_rng(3).normal(size=(pixels, 2)), levels)
