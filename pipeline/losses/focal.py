"""Focal loss: cross-entropy in which pixels that are right already say less (Lin et al. 2017, eq. 5).

Shape legend: N samples, K classes, H rows, W columns.
"""

import torch
from torch import Tensor

from pipeline.losses.cross_entropy import log_prob_of_label
from pipeline.losses.pixels import class_index, upcast


def focal_sum(logits_NKHW: Tensor, labels_NHW: Tensor, importance_NHW: Tensor, alpha_K: Tensor,
              gamma: float) -> Tensor:
    """Sum of -importance x alpha (1 - p)^gamma log p, p the label's probability; divide by the step's importance.

    The sum is divided as cross-entropy's is, so gamma = 0 and alpha = 1 are cross-entropy, and alpha changes the
    loss's size as in the paper.
    """
    log_prob = log_prob_of_label(torch.log_softmax(upcast(logits_NKHW), dim=1), labels_NHW)
    # Not below the number type's resolution: the slope of x^gamma at 0 is infinite for gamma < 1.
    wrong = (-torch.expm1(log_prob)).clamp(min=torch.finfo(log_prob.dtype).eps)
    return -(wrong**gamma * log_prob * importance_NHW * alpha_K[class_index(labels_NHW)]).sum()
