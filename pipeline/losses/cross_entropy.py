"""Pixel cross-entropy with class weights, pixel weights and ignored pixels.

Shape legend: N samples, K classes, H rows, W columns.
"""

import torch
from torch import Tensor

from pipeline.losses.pixels import class_index, upcast
from pipeline.types import IGNORE_INDEX


def pixel_importance(labels_NHW: Tensor, weight_NHW: Tensor, class_weights_K: Tensor) -> Tensor:
    """Each pixel's say in the mean: class weight x pixel weight, 0 where ignored; float32 NHW."""
    by_class = class_weights_K[class_index(labels_NHW)]
    return by_class * weight_NHW * (labels_NHW != IGNORE_INDEX)


def log_prob_of_label(log_probs_NKHW: Tensor, labels_NHW: Tensor) -> Tensor:
    """Log probability of each pixel's label, NHW; that of class 0 where ignored.

    Written with gather, whose backward pass has a deterministic CUDA kernel (2-D nll_loss has none).
    """
    return log_probs_NKHW.gather(1, class_index(labels_NHW).unsqueeze(1)).squeeze(1)


def cross_entropy_sum(logits_NKHW: Tensor, labels_NHW: Tensor, importance_NHW: Tensor,
                      smoothing: float = 0.0) -> Tensor:
    """Sum of -importance x log softmax at the label; divide by the importance of the whole step for the mean.

    With smoothing e the target is (1 - e) for the label and e / K for each of the K classes (Szegedy et al. 2016,
    section 7); the class weight of the label applies to the pixel as a whole.
    """
    log_probs = torch.log_softmax(upcast(logits_NKHW), dim=1)
    log_likelihood = log_prob_of_label(log_probs, labels_NHW)
    if smoothing:
        log_likelihood = (1 - smoothing) * log_likelihood + smoothing * log_probs.mean(dim=1)
    return -(log_likelihood * importance_NHW).sum()
