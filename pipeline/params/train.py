"""Section `train`: network, patches, loss, optimizer, schedule, precision."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section
from pipeline.params.loss import LossParams
from pipeline.params.network import NetworkParams
from pipeline.params.optimizer import OptimizerParams, ScheduleParams
from pipeline.params.patches import PatchParams
from pipeline.params.task import Task


class TrainParams(Section):
    """One training."""

    network: NetworkParams = NetworkParams()
    patches: PatchParams = PatchParams()
    loss: LossParams = LossParams()
    optimizer: OptimizerParams = OptimizerParams()
    schedule: ScheduleParams = ScheduleParams()
    epochs: int = Field(default=30, ge=1)
    #: Patches of one optimizer step over all devices and accumulation steps.
    batch_size: int = Field(default=8, ge=1)
    #: A step's batch is worked off in this many parts (saves memory, same gradient but for batch norm).
    accumulation: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    #: Number of devices; 1 by default, several start data-parallel training.
    devices: int = Field(default=1, ge=1)
    #: CPU threads of the numeric libraries; part of the reproducible configuration.
    threads: int = Field(default=2, ge=1)
    #: Worker processes that cut patches; 0 cuts them in the training process.
    workers: int = Field(default=0, ge=0)
    #: Validation score that picks the checkpoint: mcc, macro_iou, or iou of one class as `iou:<class>`.
    monitor: str = Field(default="mcc", pattern=r"^(mcc|macro_iou|iou:[a-z][a-z0-9_]*)$")
    #: best: the epoch with the highest val score, the later of equals. last: the last epoch (then val has no say,
    #: unless training stops early or follows a plateau).
    select: Literal["best", "last"] = "best"
    #: Epochs without a better val score before training stops; 0 never stops early.
    early_stop_patience: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _batch_divides(self) -> "TrainParams":
        parts = self.accumulation * self.devices
        if self.batch_size % parts:
            raise ValueError(f"train.batch_size must be a multiple of accumulation x devices = {parts}: "
                             f"got {self.batch_size}")
        if self.patches.per_epoch % self.batch_size:
            raise ValueError(f"train.patches.per_epoch must be a multiple of batch_size={self.batch_size}: "
                             f"got {self.patches.per_epoch}")
        if self.schedule.name != "plateau" and self.schedule.warmup_epochs > self.epochs:
            raise ValueError(f"train.schedule.warmup_epochs must not exceed epochs={self.epochs}, or the rate "
                             f"never arrives: got {self.schedule.warmup_epochs}")
        return self

    @property
    def val_decides(self) -> bool:
        """Whether the monitored val score has a say in the weights."""
        return self.select == "best" or self.early_stop_patience > 0 or self.schedule.name == "plateau"

    def check(self, task: Task) -> None:
        """Cross-check with the task.

        Raises:
            ValueError: `monitor` names no class.
        """
        if self.monitor.startswith("iou:"):
            task.class_id(self.monitor.removeprefix("iou:"), "train.monitor")
