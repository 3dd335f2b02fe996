"""Section `train`: network, patches, loss, optimizer, schedule, precision."""

import warnings
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.calibration import CalibrationParams
from pipeline.params.loss import LossParams
from pipeline.params.network import NetworkParams
from pipeline.params.optimizer import OptimizerParams, ScheduleParams
from pipeline.params.patches import PatchParams
from pipeline.params.task import Task
from pipeline.params.warm_start import WarmStartParams


class TrainParams(Section):
    """One training: a member for each seed and val fold."""

    network: NetworkParams = NetworkParams()
    patches: PatchParams = PatchParams()
    loss: LossParams = LossParams()
    optimizer: OptimizerParams = OptimizerParams()
    schedule: ScheduleParams = ScheduleParams()
    calibration: CalibrationParams = CalibrationParams()
    epochs: int = Field(default=30, ge=1)
    #: Patches of one optimizer step over all devices and accumulation steps.
    batch_size: int = Field(default=8, ge=1)
    #: A step's batch is worked off in this many parts: saves memory, with the same gradient but for batch norm and the
    #: loss term mcc, which see one part at a time.
    accumulation: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    #: Number of devices; 1 by default, several start data-parallel training.
    devices: int = Field(default=1, ge=1)
    #: CPU threads of the numeric libraries; part of the reproducible configuration.
    threads: int = Field(default=2, ge=1)
    #: Seconds of work that a kill may cost, more or less: the state is saved this often, but never so often that saving
    #: takes over a hundredth of the time. 0 saves after every step. Results do not depend on it.
    save_every_s: float = Field(default=30.0, ge=0)
    #: Decay of the moving average of the weights that is scored and saved in their place; 0 = no average.
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    #: Worker processes that cut patches; 0 cuts them in the training process.
    workers: int = Field(default=0, ge=0)
    #: Validation score that picks the checkpoint, stops early and lowers the rate on plateaus, where one of these is
    #: asked for (and is shown as the best so far in any case): mcc, macro_iou, or iou of one class as `iou:<class>`.
    monitor: str = Field(default="mcc", pattern=r"^(mcc|macro_iou|iou:[a-z][a-z0-9_]*)$")
    #: best: the epoch with the highest val score, the later of equals. last: the last epoch (then val has no say,
    #: unless training stops early or follows a plateau).
    select: Literal["best", "last"] = "best"
    #: Val is scored after every so many epochs and after the last; more than 1 only where val decides nothing.
    score_every: int = Field(default=1, ge=1)
    #: Epochs without a better val score before training stops; 0 never stops early.
    early_stop_patience: int = Field(default=0, ge=0)
    #: 1: one val fold, spatial_split.val_fold. spatial_split.folds: each fold is held out in turn, by a member each.
    folds: int = Field(default=1, ge=1)
    #: A member for each seed (and fold); none: the project's seed.
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = ()
    warm_start: WarmStartParams = WarmStartParams()

    @model_validator(mode="after")
    def _seeds_differ(self) -> "TrainParams":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"train.seeds must differ, or members would be copies: got {list(self.seeds)}")
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> "TrainParams":
        parts = self.accumulation * self.devices
        if self.batch_size % parts:
            raise ValueError(f"train.batch_size must be a multiple of accumulation x devices = {parts}: "
                             f"got {self.batch_size}")
        if self.patches.per_epoch % self.batch_size:
            raise ValueError(f"train.patches.per_epoch must be a multiple of batch_size={self.batch_size}: "
                             f"got {self.patches.per_epoch}")
        if self.schedule.momentum_low and self.schedule.momentum_low >= self.optimizer.momentum:
            raise ValueError("train.schedule.momentum_low must be below train.optimizer.momentum="
                             f"{self.optimizer.momentum:g}, or 0: got {self.schedule.momentum_low:g}")
        if self.schedule.warms_up and self.schedule.warmup_epochs > self.epochs:
            raise ValueError(f"train.schedule.warmup_epochs must not exceed epochs={self.epochs}, or the rate "
                             f"never arrives: got {self.schedule.warmup_epochs}")
        return self

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "TrainParams":
        warmed = self.epochs - self.schedule.warmup_epochs
        if self.schedule.name == "restarts" and self.schedule.restart_epochs >= warmed:
            warnings.warn("train.schedule.name: restarts never restarts: restart_epochs="
                          f"{self.schedule.restart_epochs} leaves none of the {warmed} epochs after the "
                          "warm-up for a second cycle", stacklevel=2)
        if self.loss.weights.mcc and self.accumulation > 1:
            warnings.warn(f"train.loss.weights.mcc is of one part of a step at a time, {1 / self.accumulation:.0%} of "
                          f"its patches with train.accumulation={self.accumulation}: the term gets noisier than with a "
                          "step in one part", stacklevel=2)
        return self

    @model_validator(mode="after")
    def _half_precision_needs_a_gpu(self) -> "TrainParams":
        if self.accelerator == "cpu" and self.precision == "16-mixed":
            raise ValueError("train.precision must be bf16-mixed or 32-true with train.accelerator: cpu: got 16-mixed")
        return self

    @model_validator(mode="after")
    def _scored_where_it_decides(self) -> "TrainParams":
        if self.score_every > 1 and self.val_decides:
            raise ValueError("train.score_every must be 1 where val scores choose epochs, stop training or set "
                             f"the rate: got {self.score_every}; or set select: last, early_stop_patience: 0 and no "
                             "plateau")
        return self

    @property
    def val_decides(self) -> bool:
        """Whether the monitored val score has a say in the weights."""
        return bool({"epoch", "stop", "rate"} & set(self.val_chose))

    @property
    def val_chose(self) -> tuple[str, ...]:
        """What the val part has a say in: the kept `epoch`, the `stop`, the learning `rate`, the `temperature`."""
        says = {"epoch": self.select == "best", "stop": self.early_stop_patience > 0,
                "rate": self.schedule.name == "plateau", "temperature": self.calibration.temperature}
        return tuple(name for name, chosen in says.items() if chosen)

    def scores_epoch(self, epoch: int) -> bool:
        """Whether val is scored after an epoch, counted from 1."""
        return epoch % self.score_every == 0 or epoch == self.epochs

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: `monitor` or the sampling names no class.
        """
        self.patches.sampling.check(task)
        self.patches.augmentation.check(task)
        self.loss.check(task, self.network.boundary_head, self.epochs)
        if self.monitor.startswith("iou:"):
            task.class_id(self.monitor.removeprefix("iou:"), "train.monitor")
