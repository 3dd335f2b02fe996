"""Soft dice loss by sample over the classes a sample has (Milletari et al. 2016, V-Net; plain sums in the denominator).

Shape legend: N samples, K classes, H rows, W columns.
"""

from torch import Tensor

from pipeline.losses.pixels import mean_of_present, probs_truth_weight

_SMOOTH = 1.0


def dice_sum(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor) -> Tensor:
    """Sum over samples of 1 - mean dice of the classes present; divide by the number of samples of the step.

    dice_k = (2 sum w p_k y_k + 1) / (sum w p_k + sum w y_k + 1), sums over labelled pixels of weight w. A sample
    without any labelled pixel adds 0.
    """
    probs, truth, weight = probs_truth_weight(logits_NKHW, labels_NHW, weight_NHW)
    both = (probs * truth * weight).sum(dim=(2, 3))
    either = ((probs + truth) * weight).sum(dim=(2, 3))
    present = (truth * weight).sum(dim=(2, 3)) > 0
    return mean_of_present(1 - (2 * both + _SMOOTH) / (either + _SMOOTH), present)
