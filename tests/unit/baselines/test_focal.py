"""Focal features by hand, with invalid pixels, at edges, and in pieces."""

import numpy as np
import pytest

from pipeline.baselines.focal import feature_names, features, window_features
from pipeline.geo.windows import flat_bands, row_bands


def test_three_by_three_by_hand() -> None:
    image = np.arange(9, dtype=np.int16).reshape(3, 3, 1)
    result = features(image, np.ones((3, 3), dtype=bool), (3,))
    assert result.shape == (3, 3, 3)
    assert result.dtype == np.float32
    assert result[..., 0].tolist() == image[..., 0].tolist()
    assert result[1, 1, 1] == pytest.approx(4)
    assert result[1, 1, 2] == pytest.approx(np.sqrt(60 / 9))
    # At the corner the window has four pixels: 0, 1, 3, 4.
    assert result[0, 0, 1] == pytest.approx(2)
    assert result[0, 0, 2] == pytest.approx(np.sqrt((4 + 1 + 1 + 4) / 4))


def test_invalid_pixels_take_no_part() -> None:
    image = np.array([[1.0, 2.0, np.nan, 3.4e38]])[..., None]
    valid = np.array([[True, True, False, False]])
    result = features(image, valid, (3,))
    assert result[0, 1].tolist() == pytest.approx([2.0, 1.5, 0.5])
    assert result[0, 0].tolist() == pytest.approx([1.0, 1.5, 0.5])
    assert np.isnan(result[0, 2, 0])
    assert result[0, 2, 1:].tolist() == pytest.approx([2.0, 0.0])
    assert np.isnan(result[0, 3]).all()


def test_features_agree_with_loops_over_windows() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 10_000, (17, 13, 2)).astype(np.uint16)
    valid = rng.random((17, 13)) < 0.7
    result = features(image, valid, (5,))
    for row in range(17):
        for col in range(13):
            window = slice(max(0, row - 2), row + 3), slice(max(0, col - 2), col + 3)
            inside = image[window][valid[window]].astype(float)
            assert result[row, col, 2:4] == pytest.approx(inside.mean(axis=0), rel=1e-5)
            assert result[row, col, 4:6] == pytest.approx(inside.std(axis=0), rel=1e-4, abs=0.1)


def test_a_constant_has_no_deviation() -> None:
    result = features(np.full((40, 40, 1), 9_999, dtype=np.uint16), np.ones((40, 40), dtype=bool), (5, 15))
    assert np.abs(result[..., [2, 4]]).max() < 0.05
    assert result[..., [1, 3]] == pytest.approx(9_999)


def test_names_are_in_the_order_of_the_features() -> None:
    names = feature_names(("red", "nir"), (5, 15))
    assert names[:4] == ("red", "nir", "red_mean_5px", "nir_mean_5px")
    assert names[-1] == "nir_deviation_15px"
    image = np.random.default_rng(0).random((20, 20, 2))
    assert features(image, np.ones((20, 20), dtype=bool), (5, 15)).shape[-1] == len(names)


@pytest.mark.parametrize("focal_px", [(), (3,), (5, 15)])
def test_bands_of_rows_give_what_the_whole_gives(focal_px: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    image, valid = rng.integers(0, 5000, (50, 21, 3)), rng.random((50, 21)) < 0.9
    wanted = valid & (rng.random((50, 21)) < 0.5)
    whole = features(image, valid, focal_px)[wanted]
    pieces = [window_features(image, lambda near: valid[near.slices], band, wanted[band.slices], focal_px)
              for band in row_bands(50, 21, 8)]
    assert np.concatenate(pieces) == pytest.approx(whole, rel=1e-5, abs=0.05)


def test_bands_of_a_wide_raster_have_fewer_rows() -> None:
    assert [w.height for w in flat_bands(600, 100, 1_000_000)] == [256, 256, 88]
    assert {w.height for w in flat_bands(40, 50_000, 1_000_000)} == {20}
    assert {w.height for w in flat_bands(3, 5_000_000, 1_000_000)} == {1}
