"""Part of section `train`: optimizer and learning rate."""

from typing import Literal

from pydantic import Field

from pipeline.params.base import Section


class OptimizerParams(Section):
    """AdamW (Loshchilov & Hutter 2019)."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    #: Gradients are scaled down to this norm; 0 leaves them.
    clip_norm: float = Field(default=1.0, ge=0)

class ScheduleParams(Section):
    """Learning rate over epochs."""

    name: Literal["constant", "cosine", "plateau"] = "cosine"
    #: Epochs of linear warm-up (cosine and constant).
    warmup_epochs: int = Field(default=1, ge=0)
    #: plateau: epochs without a better val score before the rate falls by `factor`.
    patience: int = Field(default=5, ge=1)
    factor: float = Field(default=0.5, gt=0, lt=1)
