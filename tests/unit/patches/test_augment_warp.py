"""Warps: exact beside a pixel-by-pixel reference, on any number of channels, with generators of their own."""

import random

import numpy as np
import pytest

from pipeline.params.augment import AugmentParams
from pipeline.patches.augment.pixels import Pixels
from pipeline.patches.augment.warp import coordinates, warped
from pipeline.types import IGNORE_INDEX

AFFINE = AugmentParams(shift=0.1, scale=0.25, rotate_deg=30)
ALL = AugmentParams(shift=0.1, scale=0.25, rotate_deg=30, elastic_px=2, elastic_smooth_px=4, grid_distortion=0.3)


def pixels_of(size=48, channels=4, seed=0, holes=0.05):
    """Noise with hidden pixels, and channels that are undefined here and there."""
    rng = np.random.default_rng(seed)
    visible = rng.random((size, size)) >= holes
    image = rng.normal(1000, 300, (size, size, channels)).astype(np.float32)
    image[rng.random(image.shape) < 0.01] = np.nan
    image[~visible] = np.nan
    labels = rng.choice(np.array([0, 1, 2, IGNORE_INDEX], np.uint8), (size, size))
    labels[~visible] = IGNORE_INDEX
    weight = np.where(labels == IGNORE_INDEX, 0, rng.random((size, size))).astype(np.float32)
    return Pixels(image, visible, labels, weight)


def identity(size):
    return np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2))


def reference(pixels, field):
    """The same, a pixel at a time: four neighbours, those of weight 0 left out."""
    size = len(pixels.visible)
    image, visible = np.full_like(pixels.image, np.nan), np.zeros((size, size), bool)
    labels, weight = np.full((size, size), IGNORE_INDEX, np.uint8), np.zeros((size, size), np.float32)
    for i, j in np.ndindex(size, size):
        col, row = field[:, i, j].astype(float)
        near = [((r, c), (1 - abs(row - r)) * (1 - abs(col - c))) for r in (np.floor(row), np.floor(row) + 1)
                for c in (np.floor(col), np.floor(col) + 1)]
        near = [((int(r), int(c)), share) for (r, c), share in near if share > 0]
        if all(0 <= r < size and 0 <= c < size and pixels.visible[r, c] for (r, c), _ in near):
            visible[i, j] = True
            image[i, j] = sum(share * pixels.image[place].astype(float) for place, share in near)
            visible[i, j] = not np.isnan(image[i, j]).all()
        if visible[i, j]:
            labels[i, j] = pixels.labels[round(row), round(col)]
            weight[i, j] = pixels.weight[round(row), round(col)]
    return Pixels(image, visible, labels, weight)


@pytest.mark.parametrize("channels", [1, 4, 5, 7])
def test_warps_are_exact_for_any_number_of_channels(channels):
    pixels = pixels_of(channels=channels, seed=channels)
    field = coordinates(ALL, 48, np.random.default_rng(channels))
    found, expected = warped(pixels, field), reference(pixels, field)
    assert 0.3 < found.visible.mean() < 0.9
    assert np.isnan(expected.image[expected.visible]).any() == (channels > 1)
    np.testing.assert_array_equal(found.visible, expected.visible)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.weight, expected.weight)
    np.testing.assert_allclose(found.image, expected.image, rtol=1e-5)
    assert found.image.dtype == np.float32


def test_reading_each_pixel_where_it_lies_changes_nothing():
    pixels = pixels_of()
    found = warped(pixels, identity(48))
    for name in ("image", "visible", "labels", "weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(pixels, name))


def test_half_a_pixel_to_the_right_by_hand():
    pixels = Pixels(np.array([[[1.0], [3.0], [5.0], [np.nan]]] * 4, np.float32),
                    np.array([[True, True, True, False]] * 4), np.array([[0, IGNORE_INDEX, 2, IGNORE_INDEX]] * 4,
                                                                        np.uint8),
                    np.array([[0.5, 0, 1, 0]] * 4, np.float32))
    found = warped(pixels, identity(4) + np.array([0.25, 0], np.float32)[:, None, None])
    np.testing.assert_array_equal(found.image[0, :, 0], [1.5, 3.5, np.nan, np.nan])
    assert found.visible[0].tolist() == [True, True, False, False]
    assert found.labels[0].tolist() == [0, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]
    assert found.weight[0].tolist() == [0.5, 0, 0, 0]


def test_a_channel_undefined_at_a_pixel_hides_no_other():
    pixels = pixels_of(size=8, channels=2, holes=0)
    pixels.image[...] = 1
    pixels.image[3, 3, 1] = np.nan
    found = warped(pixels, identity(8) + np.float32(0.5))
    assert found.visible[:7, :7].all()
    assert np.argwhere(np.isnan(found.image[:7, :7, 1])).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert (found.image[:7, :7, 0] == 1).all()


def test_a_pixel_without_any_defined_channel_is_hidden():
    pixels = pixels_of(size=8, channels=2, holes=0)
    pixels.image[...] = 1
    pixels.image[:, :4, 0] = pixels.image[:, 4:, 1] = np.nan
    pixels.labels[...] = 1
    found = warped(pixels, identity(8) + np.array([0.25, 0], np.float32)[:, None, None])
    assert found.visible[0].tolist() == [True] * 3 + [False] + [True] * 3 + [False]
    assert found.labels[0].tolist() == [1] * 3 + [IGNORE_INDEX] + [1] * 3 + [IGNORE_INDEX]


def test_what_comes_from_outside_is_hidden():
    field = coordinates(AugmentParams(rotate_deg=180), 64, np.random.default_rng(4))
    outside = ((field < 0) | (field > 63)).any(axis=0)
    assert outside.any()
    found = warped(pixels_of(64, holes=0), field)
    np.testing.assert_array_equal(found.visible, ~outside)
    assert np.isnan(found.image[outside]).all()
    assert (found.labels[outside] == IGNORE_INDEX).all()


def test_affine_draws_stay_within_their_limits():
    scales, angles, shifts = [], [], []
    for seed in range(300):
        field = coordinates(AFFINE, 64, np.random.default_rng(seed)).astype(float)
        inside = ((field > 0) & (field < 63)).all(axis=0)
        design = np.column_stack([np.ones(inside.sum()), *(identity(64)[:, inside] - 31.5)])
        (centre, right, down), *_ = np.linalg.lstsq(design, field[:, inside].T - 31.5, rcond=None)
        # A similarity: rows and columns at right angles, and of one scale.
        np.testing.assert_allclose([right[0], right[1]], [down[1], -down[0]], atol=2e-3)
        scales.append(1 / np.hypot(*right))
        angles.append(np.degrees(np.arctan2(right[1], right[0])))
        shifts.append(np.linalg.solve(np.stack([right, down]).T, -centre) / 64)
    assert 0.795 < min(scales) < 0.81
    assert 1.24 < max(scales) < 1.26
    # Enlarged as often as made smaller: a binomial count of 300 leaves 110..190 once in 200,000 times.
    assert 110 < (np.array(scales) > 1).sum() < 190
    assert -30.1 < min(angles) < -28
    assert 28 < max(angles) < 30.1
    assert 0.09 < np.abs(shifts).max() < 0.11


def test_elastic_displacements_have_the_deviation_asked_for():
    for smooth, size in ((4.0, 64), (8.0, 128)):
        params = AugmentParams(elastic_px=2, elastic_smooth_px=smooth)
        middle = slice(size // 4, -size // 4)
        moved = [(coordinates(params, size, np.random.default_rng(seed)) - identity(size))[:, middle, middle]
                 for seed in range(10)]
        assert np.std(moved) == pytest.approx(2, rel=0.1)
        # It is smooth: neighbours move by a fraction of a deviation more or less.
        assert np.abs(np.diff(moved, axis=-1)).max() < 2


def test_grid_distortion_moves_lines_and_keeps_the_patch_filled():
    field = coordinates(AugmentParams(grid_distortion=0.5), 100, np.random.default_rng(1))
    # The library's last line reaches the patch's edge, which is half a pixel beyond its last pixels.
    filled = field[:, :97, :97]
    moved = filled - identity(100)[:, :97, :97]
    assert 2 < np.abs(moved).max() < 30
    assert (moved[0] == moved[0, :1]).all()
    assert (moved[1] == moved[1, :, :1]).all()
    assert (np.diff(filled[0, 0]) >= 0).all()
    assert warped(pixels_of(100, holes=0), field).visible[:97, :97].all()


def test_draws_are_their_own():
    """Global generators neither move nor matter; equal generators give equal fields, whatever came before."""
    kept = random.getstate(), np.random.get_state()[1].tolist()
    first = coordinates(ALL, 32, np.random.default_rng(5))
    coordinates(ALL, 32, np.random.default_rng(6))
    random.random()
    np.random.random()
    assert coordinates(ALL, 32, np.random.default_rng(5)).tobytes() == first.tobytes()
    random.setstate(kept[0])
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist()
    coordinates(ALL, 32, np.random.default_rng(7))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert not np.array_equal(coordinates(ALL, 32, np.random.default_rng(8)), first)


def test_warps_differ_from_each_other():
    """Each has a generator of its own: elastic noise is not the affine's numbers again, nor rows those of columns."""
    field = coordinates(AugmentParams(elastic_px=1, elastic_smooth_px=2), 64, np.random.default_rng(0))
    cols, rows = (field - identity(64))[:, 8:-8, 8:-8].reshape(2, -1)
    assert abs(np.corrcoef(cols, rows)[0, 1]) < 0.2
