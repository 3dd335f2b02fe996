"""Learning rates worked out by hand."""

import math

import pytest
import torch

from pipeline.params.optimizer import ScheduleParams
from pipeline.params.train import TrainParams
from pipeline.training.schedule import momentum, rate_factor, stale_epochs


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


def reference(scheduler, steps, **options):
    """Rates and momenta of one of torch's schedulers, for a base rate of 1 and momentum of 0.9."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    made = scheduler(optimizer, **options)
    seen = []
    for _ in range(steps):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        made.step()
    return [rate for rate, _ in seen], [m for _, m in seen]


def factors(schedule, steps, epochs):
    return [rate_factor(schedule, s, steps, epochs, []) for s in range(steps * epochs)]


def test_restarts_by_hand_and_as_torch_has_them():
    schedule = ScheduleParams(name="restarts", warmup_epochs=0, restart_epochs=1, restart_growth=2)
    found = factors(schedule, 4, 7)
    assert found[:5] == pytest.approx([1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 1])
    assert found[12] == 1
    assert found[8] == pytest.approx(0.5)
    rates, _ = reference(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, 28, T_0=4, T_mult=2)
    assert found == pytest.approx(rates)


def test_restarts_begin_after_the_warm_up():
    schedule = ScheduleParams(name="restarts", warmup_epochs=1, restart_epochs=1, restart_growth=1, floor=0.2)
    assert factors(schedule, 2, 3) == pytest.approx([0.5, 1, 1, 0.6, 1, 0.6])


@pytest.mark.parametrize("low", [0.0, 0.7])
def test_one_cycle_is_that_of_torch(low):
    schedule = ScheduleParams(name="one_cycle", rise=0.25, start_divisor=10, end_divisor=100, momentum_low=low)
    rates, momenta = reference(torch.optim.lr_scheduler.OneCycleLR, 40, max_lr=1.0, total_steps=40, pct_start=0.25,
                               div_factor=10, final_div_factor=100, cycle_momentum=bool(low), base_momentum=0.7,
                               max_momentum=0.9)
    assert factors(schedule, 8, 5) == pytest.approx(rates)
    assert [momentum(schedule, 0.9, s, 40) for s in range(40)] == pytest.approx(momenta)
    assert max(rates) == rates[9] == 1
    assert rates[-1] == pytest.approx(1e-3)


def test_one_cycle_of_a_single_step_is_defined():
    assert factors(ScheduleParams(name="one_cycle"), 1, 1) == [1.0]


def test_poly_is_that_of_torch():
    found = factors(ScheduleParams(name="poly", warmup_epochs=0, power=0.9), 5, 4)
    rates, _ = reference(torch.optim.lr_scheduler.PolynomialLR, 20, total_iters=20, power=0.9)
    assert found == pytest.approx(rates)
    assert found[10] == pytest.approx(0.5**0.9)


def test_the_floor_is_what_cosine_and_poly_fall_to():
    for name in ("cosine", "poly"):
        found = factors(ScheduleParams(name=name, warmup_epochs=0, floor=0.1), 500, 2)
        assert found[0] == 1
        assert found[-1] == pytest.approx(0.1, abs=3e-3)


@pytest.mark.parametrize(("change", "message"), [
    ({"schedule": {"name": "cosine", "momentum_low": 0.8}}, "momentum_low must be 0 but for one_cycle: got 0.8"),
    ({"schedule": {"name": "one_cycle", "momentum_low": 0.95}}, r"below train.optimizer.momentum=0.9, or 0: got 0.95"),
    ({"schedule": {"name": "one_cycle", "momentum_low": 0.5}, "optimizer": {"name": "sgd", "momentum": 0}},
     r"below train.optimizer.momentum=0, or 0: got 0.5"),
    ({"schedule": {"name": "poly", "warmup_epochs": 31}}, "warmup_epochs must not exceed epochs=30"),
    ({"optimizer": {"nesterov": True}}, "nesterov must be false but for sgd with momentum: got true for adamw"),
    ({"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0}}, "with momentum 0"),
])
def test_settings_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TrainParams.model_validate(change)
