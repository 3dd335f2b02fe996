"""Before the first trial: every corner of a space is a configuration that params.yaml may have."""

from typing import Any

import pytest

from pipeline.errors import ParamsError
from pipeline.params.load import Params
from pipeline.params.train import TrainParams
from pipeline.tuning.corners import check_space, present, trial_params
from pipeline.tuning.space import values
from tests.unit.tuning.tuning_setup import params_of, tune_of


def check(space: dict[str, Any], train: dict[str, Any] | None = None, **tune: Any) -> None:
    check_space(params_of(**(train or {})), tune_of(space=space, **tune))


@pytest.mark.parametrize(("space", "said"), [
    ({"train.optimizer.lrr": {"low": 1e-4, "high": 1}},
     r"space.train.optimizer.lrr: 0.0001: train.optimizer.lrr is not a known key; did you mean 'lr'\?"),
    ({"train.optimiser.lr": {"low": 1e-4, "high": 1}}, r"did you mean 'optimizer'\?"),
    ({"train.epochs.lr": {"low": 1e-4, "high": 1}}, "train.epochs is 3, which has no keys"),
    ({"train.ema_decay": {"low": 0, "high": 1}}, "space.train.ema_decay: 1.0: train.ema_decay: Input should be less"),
    ({"train.batch_size": {"low": 4, "high": 8}}, r"space.train.batch_size: 5\.\d+: train.batch_size: Input should be"),
    ({"train.batch_size": {"choices": [8, 16, 24]}}, "space.train.batch_size: 24: train.patches.per_epoch must be"),
    ({"train.patches.size_px": {"low": 32, "high": 64, "int": True}}, "space.train.patches.size_px: 44: .*multiple of"),
    # Each alone may be: a weight of nothing at all may not.
    ({"train.loss.weights.cross_entropy": {"low": 0, "high": 1}, "train.loss.weights.dice": {"low": 0, "high": 1}},
     "space, every key at its lowest or first value: train.loss.weights must have one term above 0"),
    ({"train.batch_size": {"choices": [4, 16]}, "train.patches.per_epoch": {"choices": [16, 24]}},
     "space, every key at its highest or last value: train.patches.per_epoch must be a multiple"),
    ({"train.monitor": {"choices": ["mcc", "iou:lake"]}}, "space.train.monitor: iou:lake: "),
])
def test_corners_that_break_the_schema_are_refused(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=f"^tiny: .*{said}"):
        check(space)


def test_the_tune_files_own_settings_are_checked() -> None:
    with pytest.raises(ParamsError, match=r"the tune file's epochs and threads: train.schedule.warmup_epochs must not"):
        check({"train.ema_decay": {"low": 0, "high": 0.9}}, {"schedule": {"warmup_epochs": 5}}, epochs=3)
    with pytest.raises(ParamsError, match=r"metric iou.lake must name a class of task.classes .*: got 'lake'"):
        check({"train.ema_decay": {"low": 0, "high": 0.9}}, metric="iou.lake")


@pytest.mark.parametrize(("space", "said"), [
    ({"train.loss.weights": {"choices": [{"dice": 1.0}, {"dice": 0.5}]},
      "train.loss.weights.dice": {"low": 0.1, "high": 1}}, "train.loss.weights and train.loss.weights.dice both set"),
    ({"train.patches.sampling.composition": {"choices": [{"water": 0.5}, {}]},
      "train.patches.sampling.composition.water": {"low": 0.1, "high": 0.9}}, "composition.water both set")])
def test_keys_that_set_one_value_are_refused(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        check(space)


def test_a_key_without_effect_in_every_trial_is_warned_of() -> None:
    gamma = {"train.loss.focal.gamma": {"low": 1.0, "high": 4.0}}
    with pytest.warns(UserWarning, match=r"tiny: in every trial train.loss.focal has no effect"):
        check(gamma)
    # Somewhere in the space it has one.
    check({**gamma, "train.loss.weights.focal": {"low": 0.0, "high": 1.0}})


def test_what_params_yaml_is_warned_of_already_is_not_said_again() -> None:
    train = {"loss": {"effective_beta": 0.99}}
    with pytest.warns(UserWarning, match="effective_beta has no effect") as told:
        params = params_of(**train)
    check_space(params, tune_of())
    assert len(told) == 1


def test_a_trial_has_one_member_and_the_tune_files_length() -> None:
    params = params_of(seeds=[3, 4], calibration={"temperature": True})
    made = trial_params(params, tune_of(epochs=2, threads=5), {"train.optimizer.lr": 0.5}).section(TrainParams)
    assert (made.seeds, made.calibration.temperature, made.epochs, made.threads) == ((), False, 2, 5)
    assert made.optimizer.lr == 0.5
    assert params.section(TrainParams).seeds == (3, 4)


def test_the_present_values_may_be_the_first_trial() -> None:
    params = Params({**params_of().raw, "train": {"batch_size": 8, "network": {"decoder_channels": [64, 32, 16, 8]}}})
    space = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "train.batch_size": {"choices": [4, 8]},
             "train.network.decoder_channels": {"choices": [[32, 16, 8, 8], [64, 32, 16, 8]]}}
    assert present(params, tune_of(space=space)) == {
        "train.optimizer.lr": 1e-3, "train.batch_size": 8, "train.network.decoder_channels": "[64, 32, 16, 8]"}
    assert present(params, tune_of(space={"train.optimizer.lr": {"low": 0.01, "high": 0.1}})) is None


def test_the_present_values_may_be_one_choice_of_several_keys() -> None:
    params = Params({**params_of().raw, "train": {"loss": {"weights": {"dice": 0.5}}}})
    choices = [{"dice": 1.0, "focal": 0.0}, {"dice": 0.5, "focal": 0.0}]
    tune = tune_of(space={"train.loss.weights": {"choices": choices}})
    found = present(params, tune)
    assert found is not None
    assert values(found, tune.space)["train.loss.weights"] == choices[1]
    other = tune_of(space={"train.loss.weights": {"choices": [choices[0], {"dice": 0.5, "focal": 1.0}]}})
    assert present(params, other) is None
