"""Part of section `train`: optimizer and learning rate."""

import warnings
from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section


class OptimizerParams(Section):
    """AdamW (Loshchilov & Hutter 2019) or SGD, and which parameters move when and how fast."""

    name: Literal["adamw", "sgd"] = "adamw"
    #: Base rate: that of the head; the schedule and the two factors below are on top.
    lr: float = Field(default=1e-3, gt=0)
    #: Of SGD; beta_1 of AdamW (whose beta_2 is 0.999).
    momentum: float = Field(default=0.9, ge=0, lt=1)
    #: sgd: look ahead by the momentum (Sutskever et al. 2013).
    nesterov: bool = False
    weight_decay: float = Field(default=1e-2, ge=0)
    #: false leaves biases and the scales of norm layers (every parameter of fewer than two axes) without decay.
    decay_norms_and_biases: bool = True
    #: Factor on the rate of the whole encoder; below 1 for encoders that have learnt before.
    encoder_lr_factor: float = Field(default=1.0, gt=0)
    #: Factor on the rate for each step from the head towards the input: head 1, decoder d, deepest encoder stage d^2
    #: (Clark et al. 2020, ELECTRA); 1 = all layers alike.
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    #: Epochs in which the encoder stays as it started, its batch statistics too.
    frozen_epochs: int = Field(default=0, ge=0)
    #: After them the deepest encoder stage thaws, then the next one every so many epochs (Howard & Ruder 2018, gradual
    #: unfreezing); 0 thaws all at once.
    unfreeze_every_epochs: int = Field(default=0, ge=0)
    #: Gradients are scaled down to this norm; 0 leaves them.
    clip_norm: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "OptimizerParams":
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError("train.optimizer.nesterov must be false but for sgd with momentum: got true for "
                             f"{self.name} with momentum {self.momentum:g}")
        if "decay_norms_and_biases" in self.model_fields_set and not (self.decay_norms_and_biases or self.weight_decay):
            warnings.warn("train.optimizer.decay_norms_and_biases has no effect: weight_decay is 0", stacklevel=2)
        return self


#: Schedules that begin with a warm-up, and those that fall to a floor.
_WARMING, _FLOORED = ("constant", "cosine", "restarts", "poly"), ("cosine", "restarts", "poly")


class ScheduleParams(Section):
    """Learning rate over the training, as a factor on the base rate."""

    name: Literal["constant", "cosine", "plateau", "restarts", "one_cycle", "poly"] = "cosine"
    #: Epochs of linear warm-up (constant, cosine, restarts, poly).
    warmup_epochs: int = Field(default=1, ge=0)
    #: plateau: epochs without a better val score before the rate falls by `factor`.
    patience: int = Field(default=5, ge=1)
    factor: float = Field(default=0.5, gt=0, lt=1)
    #: cosine, restarts, poly: what the rate falls to.
    floor: float = Field(default=0.0, ge=0, lt=1)
    #: restarts: epochs of the first cycle (T_0), and how much longer each is than the one before (T_mult).
    restart_epochs: int = Field(default=10, ge=1)
    restart_growth: int = Field(default=2, ge=1)
    #: poly: exponent.
    power: float = Field(default=0.9, gt=0)
    #: one_cycle: share of all steps in which the rate rises, from 1 / start_divisor; it ends at 1 / (start_divisor x
    #: end_divisor).
    rise: float = Field(default=0.3, gt=0, lt=1)
    start_divisor: float = Field(default=25.0, ge=1)
    end_divisor: float = Field(default=1e4, ge=1)
    #: one_cycle: the momentum falls from the optimizer's to this while the rate rises, and back; 0 leaves it.
    momentum_low: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _momentum_cycles(self) -> "ScheduleParams":
        if self.momentum_low and self.name != "one_cycle":
            raise ValueError("train.schedule.momentum_low must be 0 but for one_cycle: "
                             f"got {self.momentum_low:g} for {self.name}")
        return self

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "ScheduleParams":
        for setting, schedules, off in (
                ("warmup_epochs", _WARMING, 0), ("patience", ("plateau",), None), ("factor", ("plateau",), None),
                ("floor", _FLOORED, 0), ("restart_epochs", ("restarts",), None),
                ("restart_growth", ("restarts",), None), ("power", ("poly",), None),
                ("rise", ("one_cycle",), None), ("start_divisor", ("one_cycle",), None),
                ("end_divisor", ("one_cycle",), None)):
            given = setting in self.model_fields_set and getattr(self, setting) != off
            if given and self.name not in schedules:
                warnings.warn(f"train.schedule.{setting} has no effect: name is {self.name}", stacklevel=2)
        return self

    @property
    def warms_up(self) -> bool:
        """Whether warmup_epochs has a say."""
        return self.name in _WARMING
