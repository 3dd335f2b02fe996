"""How a score varies over repetitions: mean, standard deviation, and Student's interval where they are independent.

Trainings that differ in their seed only are independent draws of one quantity, so the interval of their mean is
Student's (1908), with n - 1 degrees of freedom; with n of 2 or 3 it is wide, as it must be (the factor of the standard
error at 95 % is 12.7, 4.3, 3.2, 2.8 for n = 2 to 5). Folds are not: their train parts overlap and their val parts
differ in difficulty, and no unbiased estimator of the variance of their mean exists (Bengio & Grandvalet 2004), so they
get none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Of the defined values: their number, mean, standard deviation (n - 1), extremes; NaN where not defined."""

    n: int
    mean: float
    sd: float
    least: float
    largest: float
    #: Student's interval of the mean; NaN for fewer than two values, or where none was asked for.
    low: float
    high: float


def spread(values: Sequence[float], confidence: float | None = None) -> Spread:
    """Summarise values; undefined ones (NaN) are left out, and `n` says how many are not.

    Args:
        values: one a repetition.
        confidence: coverage of the mean's interval; None leaves it out.
    """
    known = [value for value in values if not math.isnan(value)]
    n, nan = len(known), float("nan")
    if not n:
        return Spread(0, nan, nan, nan, nan, nan, nan)
    mean = math.fsum(known) / n
    if n == 1:
        return Spread(1, mean, nan, mean, mean, nan, nan)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    reach = nan if confidence is None else student_t(confidence, n - 1) * sd / math.sqrt(n)
    return Spread(n, mean, sd, min(known), max(known), mean - reach, mean + reach)


def student_t(confidence: float, degrees: int) -> float:
    """The two-sided quantile of Student's t: the factor of the standard error."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))
