"""Semivariances by hand; fitted curves give back the model they were made from."""

import numpy as np
import pytest

from pipeline.splits.variogram import Empirical, empirical, fit


def made(rise: np.ndarray, nugget: float = 0.0, lags: np.ndarray | None = None) -> Empirical:
    lags = np.linspace(10, 1000, len(rise)) if lags is None else lags
    return Empirical(lags, nugget + rise, np.full(len(rise), 500))


LAGS = np.linspace(10, 1000, 25)


def test_semivariance_is_half_the_mean_square_by_lag() -> None:
    lag = np.repeat([5.0, 15.0, 25.0, 99.0], 40)
    difference = np.concatenate([np.tile([1.0, -3.0], 20), np.full(40, 2.0), np.full(40, 9.0), np.full(40, 7.0)])
    difference[109:120] = 0
    found = empirical(lag, difference, np.array([0.0, 10.0, 20.0, 30.0]))
    assert found.lag_m == pytest.approx([5, 15, 25])
    assert found.semivariance[:2] == pytest.approx([2.5, 2.0])  # (1 + 9) / 2 / 2, 4 / 2
    assert found.semivariance[2] == pytest.approx(29 * 81 / 40 / 2)
    assert found.pairs.tolist() == [40, 40, 40]


def test_lags_with_few_pairs_are_left_out() -> None:
    found = empirical(np.repeat([5.0, 15.0], [29, 30]), np.ones(59), np.array([0.0, 10.0, 20.0]))
    assert found.lag_m.tolist() == [15]


@pytest.mark.parametrize("nugget", [0.0, 0.02])
def test_an_exponential_curve_gives_its_practical_range(nugget: float) -> None:
    found = fit(made(0.1 * (1 - np.exp(-3 * LAGS / 300)), nugget))
    assert found is not None
    assert found.model == "exponential"
    assert found.range_m == pytest.approx(300, rel=0.01)
    assert (found.nugget, found.sill) == pytest.approx((nugget, nugget + 0.1), abs=1e-3)
    assert found.curve(np.array([found.range_m]))[0] == pytest.approx(nugget + 0.095, rel=0.01)  # 95 % of the rise


def test_a_spherical_curve_reaches_95_percent_before_its_range() -> None:
    share = np.minimum(LAGS / 400, 1)
    found = fit(made(0.1 * (1.5 * share - 0.5 * share**3)))
    assert found is not None
    assert found.model == "spherical"
    assert found.length_m == pytest.approx(400, rel=0.01)
    assert found.range_m == pytest.approx(0.811 * 400, rel=0.01)
    assert found.curve(np.array([found.range_m]))[0] == pytest.approx(0.095, rel=0.01)


def test_a_straight_line_has_no_sill_within_its_lags() -> None:
    found = fit(made(LAGS * 1e-4))
    assert found is not None
    assert found.range_m > 1000


def test_noise_alone_has_no_range() -> None:
    found = fit(made(np.zeros(25), nugget=0.05))
    assert found is not None
    assert found.range_m == 0


def test_equal_values_have_no_range() -> None:
    found = fit(made(np.zeros(25)))
    assert found is not None
    assert (found.range_m, found.sill) == (0, 0)


def test_three_lags_are_too_few() -> None:
    assert fit(made(np.array([0.1, 0.2, 0.2]))) is None
