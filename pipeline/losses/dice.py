"""Soft dice loss by sample over the classes a sample has (Milletari et al. 2016, V-Net; plain sums in the denominator).

Shape legend: N samples, K classes, H rows, W columns.
"""

import torch
from torch import Tensor

from pipeline.types import IGNORE_INDEX

_SMOOTH = 1.0


def dice_sum(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor) -> Tensor:
    """Sum over samples of 1 - mean dice of the classes present; divide by the number of samples of the step.

    dice_k = (2 sum w p_k y_k + 1) / (sum w p_k + sum w y_k + 1), sums over labelled pixels of weight w. A sample
    without any labelled pixel adds 0.
    """
    probs = torch.softmax(logits_NKHW.float(), dim=1)
    labelled = labels_NHW != IGNORE_INDEX
    index = torch.where(labelled, labels_NHW, torch.zeros_like(labels_NHW))
    truth = torch.zeros_like(probs).scatter_(1, index.unsqueeze(1), 1.0)
    weight = (weight_NHW * labelled).unsqueeze(1)
    both = (probs * truth * weight).sum(dim=(2, 3))
    either = ((probs + truth) * weight).sum(dim=(2, 3))
    present = (truth * weight).sum(dim=(2, 3)) > 0
    loss_NK = 1 - (2 * both + _SMOOTH) / (either + _SMOOTH)
    return ((loss_NK * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).sum()
