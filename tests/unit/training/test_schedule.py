"""Learning rates worked out by hand."""

import math

import pytest

from pipeline.params.optimizer import ScheduleParams
from pipeline.training.schedule import rate_factor, stale_epochs


def test_cosine_warms_up_then_falls_to_zero():
    schedule = ScheduleParams(name="cosine", warmup_epochs=1)
    factors = [rate_factor(schedule, s, steps_per_epoch=4, epochs=3, val_scores=[]) for s in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[8] == pytest.approx(0.5)
    assert factors[11] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_constant_stays_after_warm_up():
    schedule = ScheduleParams(name="constant", warmup_epochs=1)
    assert [rate_factor(schedule, s, 2, 5, []) for s in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_plateau_falls_after_patience_epochs_without_a_better_score():
    schedule = ScheduleParams(name="plateau", patience=2, factor=0.1)
    assert rate_factor(schedule, 0, 4, 9, []) == 1
    assert rate_factor(schedule, 0, 4, 9, [0.5, 0.4]) == 1
    assert rate_factor(schedule, 0, 4, 9, [0.5, 0.4, 0.5]) == pytest.approx(0.1)
    assert rate_factor(schedule, 0, 4, 9, [0.5, 0.4, 0.5, 0.6, math.nan, 0.1]) == pytest.approx(0.01)


def test_stale_epochs():
    assert stale_epochs([]) == 0
    assert stale_epochs([0.1, 0.3, 0.3, math.nan]) == 2
