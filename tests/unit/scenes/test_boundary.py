"""Weights near label boundaries, by hand, and equal in windows and in the whole."""

import numpy as np
import pytest

from pipeline.scenes.boundary import halo_px, ramp


def test_a_straight_boundary_by_hand() -> None:
    labels = np.array([[0, 0, 0, 1, 1, 1, 1]], dtype=np.uint8)
    # centres lie 2.5, 1.5, 0.5 | 0.5, 1.5, 2.5, 3.5 pixels of 10 m from the edge; the ramp is 20 m
    expected = [1, 0.75, 0.25, 0.25, 0.75, 1, 1]
    np.testing.assert_allclose(ramp(labels, (10, 10), 20), [expected], rtol=1e-6)


def test_pixels_that_are_not_square() -> None:
    labels = np.zeros((5, 5), dtype=np.uint8)
    labels[2, 2] = 1
    factor = ramp(labels, (5, 20), 40)
    # 2 px to the right: 10 m less half a (narrow) pixel; 2 rows below: 40 m less that
    assert factor[2, 4] == pytest.approx((10 - 2.5) / 40)
    assert factor[4, 2] == pytest.approx((40 - 2.5) / 40)


def test_unlabelled_ground_is_a_boundary_and_the_edge_is_none() -> None:
    labels = np.full((9, 9), 3, dtype=np.uint8)
    assert (ramp(labels, (10, 10), 30) == 1).all()
    labels[:, 8] = 255
    factor = ramp(labels, (10, 10), 30)
    assert factor[4, 7] == pytest.approx(5 / 30)
    assert factor[0, 0] == 1


def test_zero_is_off_and_the_type_is_float32() -> None:
    labels = np.eye(4, dtype=np.uint8)
    factor = ramp(labels, (10, 10), 0)
    assert factor.dtype == np.float32
    assert (factor == 1).all()
    assert ramp(labels, (10, 10), 15).dtype == np.float32


def test_every_factor_is_above_0_and_grows_with_the_distance() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (8, 8)).repeat(9, 0).repeat(9, 1).astype(np.uint8)
    near, far = ramp(labels, (10, 10), 100), ramp(labels, (10, 10), 25)
    assert near.min() > 0
    assert (far >= near).all()
    assert far.max() == 1


@pytest.mark.parametrize("pixel_m", [(10.0, 10.0), (8.1, 12.0)])
def test_windows_with_a_halo_give_what_the_whole_gives(pixel_m: tuple[float, float]) -> None:
    labels = np.random.default_rng(1).integers(0, 3, (7, 7)).repeat(11, 0).repeat(11, 1).astype(np.uint8)
    whole, halo = ramp(labels, pixel_m, 45.0), halo_px(pixel_m, 45.0)
    for row in range(0, 77, 20):
        top = max(0, row - halo)
        part = ramp(labels[top: row + 20 + halo], pixel_m, 45.0)[row - top:][:20]
        np.testing.assert_array_equal(part[: 77 - row], whole[row: row + 20])
