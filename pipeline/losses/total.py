"""The weighted sum of loss terms over one optimizer step, which may be split over parts and devices."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.losses.cross_entropy import cross_entropy_sum, pixel_importance
from pipeline.losses.dice import dice_sum
from pipeline.params.loss import LossWeights


@dataclass(frozen=True)
class StepTotals:
    """What a whole step (all parts, all devices) is divided by: its importance and its number of samples."""

    importance: float
    samples: int


class TotalLoss:
    """Terms with weight above 0, each divided by the totals of the whole step: parts add up to the step's loss."""

    def __init__(self, weights: LossWeights, class_weights_K: Tensor) -> None:
        self._weights = weights
        self._class_weights = class_weights_K

    def importance(self, labels_NHW: Tensor, weight_NHW: Tensor) -> float:
        """Importance of a part; add up over the parts of a step for its StepTotals."""
        return float(pixel_importance(labels_NHW, weight_NHW, self._class_weights.to(labels_NHW.device)).sum())

    def __call__(self, logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor, totals: StepTotals) -> Tensor:
        """This part's share of the step's loss, a scalar. A step without labelled pixels has the loss 0."""
        terms: Sequence[Tensor] = ()
        if self._weights.cross_entropy and totals.importance > 0:
            importance = pixel_importance(labels_NHW, weight_NHW, self._class_weights.to(labels_NHW.device))
            summed = cross_entropy_sum(logits_NKHW, labels_NHW, importance)
            terms = (*terms, self._weights.cross_entropy * summed / totals.importance)
        if self._weights.dice:
            terms = (*terms, self._weights.dice * dice_sum(logits_NKHW, labels_NHW, weight_NHW) / totals.samples)
        return torch.stack(list(terms)).sum() if terms else logits_NKHW.sum() * 0
