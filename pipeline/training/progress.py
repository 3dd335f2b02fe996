"""What changes while a network is trained, beside weights and optimizer: place, sums, scores, best weights.

All of it is in the resume state, so that a training killed anywhere goes on as if nothing had happened.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.networks.segmenter import Segmenter
from pipeline.params.train import TrainParams
from pipeline.training.schedule import stale_epochs


@dataclass
class Progress:
    """Where a training is; everything in it is equal on all ranks but for `drawn_K`."""

    #: Finished epochs, and finished steps of the running one.
    epoch: int = 0
    step: int = 0
    #: Sum of the running epoch's step losses.
    loss: float = 0.0
    #: Labelled pixels this rank has drawn in the running epoch, by class.
    drawn_K: list[int] = field(default_factory=list)
    #: Base rate of the last step.
    rate: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def state(self, drawn_K: Sequence[int]) -> dict[str, Any]:
        """As plain data, with the pixels that all ranks have drawn."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "drawn_K": list(drawn_K)}

    @property
    def place(self) -> str:
        """In words, for messages."""
        return f"epoch {self.epoch + 1}, step {self.step + 1}"

    def scores(self, params: TrainParams) -> list[float]:
        """The monitored val score of each finished epoch; NaN where val was not scored."""
        return [row.get(_monitor_key(params), math.nan) for row in self.history]

    def shown(self, params: TrainParams) -> dict[str, str]:
        """Beside a progress bar: the last epoch's loss, and the best val score once there is one."""
        scores = [score for score in self.scores(params) if not math.isnan(score)]
        return {"loss": f"{self.history[-1]['train_loss']:.3f}"} | ({"best": f"{max(scores):.3f}"} if scores else {})

    def stopped(self, params: TrainParams) -> bool:
        """Whether training has waited long enough for a better val score."""
        patience = params.early_stop_patience
        return patience > 0 and stale_epochs(self.scores(params)) >= patience

    def row(self, steps: int, classes: Sequence[str], drawn_K: Sequence[int]) -> dict[str, float]:
        """The running epoch's own columns: shares are of the labelled pixels drawn, NaN if there were none."""
        pixels = sum(drawn_K)
        shares = [n / pixels if pixels else math.nan for n in drawn_K]
        return {"epoch": self.epoch + 1, "lr": self.rate, "train_loss": self.loss / steps,
                **{f"share_{name}": share for name, share in zip(classes, shares, strict=True)}}

    def close_epoch(self, row: dict[str, float], segmenter: Segmenter, params: TrainParams) -> None:
        """Append the epoch's row, keep the weights if they are the ones to choose so far, and start the next epoch."""
        self.history.append(row)
        self.epoch, self.step, self.loss, self.drawn_K = self.epoch + 1, 0, 0.0, [0] * len(self.drawn_K)
        value = row.get(_monitor_key(params), math.nan)
        value = -math.inf if math.isnan(value) else value
        # The later of equal scores: a rare class may stay at 0 for the first epochs.
        if params.select == "last" or value >= self.best_score:
            self.best_epoch, self.best_score = self.epoch, value
            self.best_weights = {k: v.detach().cpu().clone() for k, v in segmenter.state_dict().items()}


def _monitor_key(params: TrainParams) -> str:
    return "val_" + params.monitor.replace(":", "_")


def history_csv(history: Sequence[Mapping[str, float]]) -> str:
    """The rows as CSV with seven significant digits; NaN and what a row lacks (the last has all) are empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(history[-1])
    for row in history:
        values = (row.get(name, math.nan) for name in history[-1])
        writer.writerow("" if math.isnan(v) else f"{v:.7g}" for v in values)
    return text.getvalue()
