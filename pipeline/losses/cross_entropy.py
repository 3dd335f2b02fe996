"""Pixel cross-entropy with class weights, pixel weights and ignored pixels.

Shape legend: N samples, K classes, H rows, W columns.
"""

import torch
from torch import Tensor

from pipeline.types import IGNORE_INDEX


def pixel_importance(labels_NHW: Tensor, weight_NHW: Tensor, class_weights_K: Tensor) -> Tensor:
    """Each pixel's say in the mean: class weight x pixel weight, 0 where ignored; float32 NHW."""
    labelled = labels_NHW != IGNORE_INDEX
    by_class = class_weights_K[torch.where(labelled, labels_NHW, torch.zeros_like(labels_NHW))]
    return by_class * weight_NHW * labelled


def cross_entropy_sum(logits_NKHW: Tensor, labels_NHW: Tensor, importance_NHW: Tensor) -> Tensor:
    """Sum of -importance x log softmax at the label; divide by the importance of the whole step for the mean.

    Written with gather, whose backward pass has a deterministic CUDA kernel (2-D nll_loss has none).
    """
    log_probs = torch.log_softmax(logits_NKHW.float(), dim=1)
    index = torch.where(labels_NHW == IGNORE_INDEX, torch.zeros_like(labels_NHW), labels_NHW)
    at_label = log_probs.gather(1, index.unsqueeze(1)).squeeze(1)
    return -(at_label * importance_NHW).sum()
