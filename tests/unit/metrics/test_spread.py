"""Mean, deviation and Student's interval by hand."""

import math

import pytest

from pipeline.metrics.spread import spread, student_t


def test_three_values_by_hand() -> None:
    result = spread([0.5, 0.6, 0.7], 0.95)
    assert (result.n, result.mean, result.least, result.largest) == (3, pytest.approx(0.6), 0.5, 0.7)
    assert result.sd == pytest.approx(0.1)
    # t for 2 degrees of freedom at 95 % is 4.3027: 4.3027 * 0.1 / sqrt(3) = 0.24842.
    assert (result.low, result.high) == (pytest.approx(0.6 - 0.24842, abs=1e-5), pytest.approx(0.6 + 0.24842, abs=1e-5))


@pytest.mark.parametrize(("degrees", "factor"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764)])
def test_factors_are_those_of_the_tables(degrees: int, factor: float) -> None:
    assert student_t(0.95, degrees) == pytest.approx(factor, abs=1e-4)


def test_without_a_confidence_there_is_no_interval() -> None:
    result = spread([0.5, 0.7])
    assert result.sd == pytest.approx(math.sqrt(0.02))
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_undefined_values_are_left_out_and_few_have_no_spread() -> None:
    assert spread([0.5, math.nan, 0.7], 0.9).n == 2
    one = spread([math.nan, 0.4], 0.9)
    assert (one.n, one.mean, one.least) == (1, 0.4, 0.4)
    assert math.isnan(one.sd)
    assert math.isnan(one.low)
    none = spread([math.nan], 0.9)
    assert none.n == 0
    assert math.isnan(none.mean)
