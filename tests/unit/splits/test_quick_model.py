"""The quick model judges ground it has not learnt from, and always alike."""

import numpy as np

from pipeline.splits.quick_model import QuickModel, cross_fitted_residuals, halves

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 2, 600).astype(np.uint8)
VALUES = (LABEL[:, None] * [3.0, -2.0] + RNG.normal(0, 1, (600, 2))).astype(np.float32)
XYZ = np.column_stack([RNG.random((600, 2)) * 1000, np.zeros(600)])


def test_it_learns_and_gives_unseen_classes_nothing() -> None:
    model = QuickModel.fit(VALUES, LABEL, 1)
    assert (model.predict(VALUES) == LABEL).mean() > 0.9
    assert model.truth_probability(VALUES, LABEL).mean() > 0.65
    assert (model.truth_probability(VALUES, np.full(600, 7, np.uint8)) == 0).all()


def test_equal_seeds_give_equal_models() -> None:
    one, again, other = (QuickModel.fit(VALUES, LABEL, seed).truth_probability(VALUES, LABEL) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_halves_are_spatial_and_neither_is_small() -> None:
    first = halves(XYZ)
    assert 0.3 < first.mean() < 0.7
    cell = (XYZ[:, :2] - XYZ[:, :2].min(axis=0)) // (np.ptp(XYZ[:, :2], axis=0) / 6 + 1e-6)
    assert all(first[(cell == c).all(axis=1)].std() == 0 for c in np.unique(cell, axis=0))


def test_far_clusters_are_dealt_to_both_halves() -> None:
    clusters = np.repeat([[0.0, 0, 0], [1e6, 1e6, 0]], 50, axis=0)  # both on the checkerboard's diagonal: one colour
    first = halves(clusters)
    assert first[:50].std() == first[50:].std() == 0
    assert first[0] != first[50]


def test_a_residual_comes_from_the_other_half_only() -> None:
    first = halves(XYZ)
    residual = cross_fitted_residuals(VALUES, LABEL, XYZ, 1)
    assert residual is not None
    assert residual.mean() < 0.35
    spoilt = LABEL.copy()
    spoilt[np.flatnonzero(first)[:100]] ^= 1  # labels of the first half
    other = cross_fitted_residuals(VALUES, spoilt, XYZ, 1)
    assert other is not None
    assert (other[first & (spoilt == LABEL)] == residual[first & (spoilt == LABEL)]).all()
    assert (other[~first] != residual[~first]).any()


def test_a_half_of_one_class_gives_none() -> None:
    assert cross_fitted_residuals(VALUES, halves(XYZ).astype(np.uint8), XYZ, 1) is None
