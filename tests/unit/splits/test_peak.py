"""The peak of a correlation and its error, and when there is none."""

import numpy as np
import pytest

from pipeline.splits.peak import TOO_LITTLE, locate


def cones(centers: np.ndarray, reach: int = 6, height: float = 1.0) -> np.ndarray:
    """A paraboloid for each block, highest at its center (x, y), flattened far from it."""
    y, x = np.mgrid[-reach:reach + 1, -reach:reach + 1]
    squares = [(x - cx) ** 2 + (y - cy) ** 2 for cx, cy in centers]
    return height * -np.minimum(np.stack(squares), 60.0)


def test_a_paraboloid_is_found_exactly() -> None:
    peak = locate(cones(np.tile([1.25, -2.4], (8, 1))), 1.0, 2.0)
    assert peak.undetermined == ""
    np.testing.assert_allclose(peak.offset_px, [1.25, -2.4], atol=1e-9)
    np.testing.assert_allclose(peak.error_px, 0, atol=1e-9)


def test_the_error_is_the_standard_error_of_the_blocks_own_peaks() -> None:
    centers = np.array([1.0, -1.0]) + np.random.default_rng(0).normal(0, [0.4, 0.2], (60, 2))
    peak = locate(cones(centers), 1.0, 2.0)
    np.testing.assert_allclose(peak.offset_px, centers.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(peak.error_px, centers.std(axis=0, ddof=1) / np.sqrt(60), rtol=1e-6)


def test_steeper_blocks_count_more() -> None:
    scores = np.concatenate([cones(np.tile([2.0, 0.0], (4, 1)), height=3), cones(np.tile([1.0, 0.0], (4, 1)))])
    assert locate(scores, 1.0, 2.0).offset_px[0] == pytest.approx((3 * 2 + 1) / 4)


def test_blocks_without_information_change_nothing() -> None:
    centers = np.random.default_rng(1).normal(0, 0.3, (20, 2))
    alone = locate(cones(centers), 1.0, 2.0)
    padded = locate(np.concatenate([cones(centers), np.full((50, 13, 13), 7.0)]), 1.0, 2.0)
    np.testing.assert_allclose(padded.offset_px, alone.offset_px, atol=1e-9)
    np.testing.assert_allclose(padded.covariance_px2, alone.covariance_px2, rtol=1e-6)


def test_too_few_blocks() -> None:
    assert locate(cones(np.zeros((3, 2))), 1.0, 2.0).undetermined == TOO_LITTLE
    assert locate(np.zeros((30, 13, 13)), 1.0, 2.0).undetermined == TOO_LITTLE


def test_a_peak_at_the_edge_of_reach_is_none() -> None:
    assert "within reach" in locate(cones(np.tile([6.0, 0.0], (9, 1))), 1.0, 2.0).undetermined


def test_noise_has_no_peak() -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=(40, 13, 13))
        assert locate(noise, 1.5, 2.0).undetermined


def test_two_equal_peaks_are_undetermined() -> None:
    centers = np.repeat([[4.0, 0.0], [-4.0, 0.0]], 10, axis=0)
    scores = np.maximum(cones(centers), -6.0) + np.random.default_rng(2).normal(0, 0.1, (20, 13, 13))
    assert "another offset" in locate(scores, 1.5, 2.0).undetermined


def test_blocks_that_disagree_too_much_are_undetermined() -> None:
    centers = np.random.default_rng(3).normal(0, 1.5, (12, 2))
    assert locate(cones(centers), 10.0, 0.0).undetermined == ""
    assert locate(cones(centers), 0.2, 0.0).undetermined == "the score is flat"
