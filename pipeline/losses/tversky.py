"""Tversky loss by sample over the classes a sample has (Salehi, Erdogmus & Gholipour 2017).

Shape legend: N samples, K classes, H rows, W columns.
"""

from torch import Tensor

from pipeline.losses.pixels import mean_of_present, probs_truth_weight

#: Half that of dice, so that alpha = beta = 0.5 is dice exactly.
_SMOOTH = 0.5


def tversky_sum(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor, alpha: float, beta: float) -> Tensor:
    """Sum over samples of 1 - mean Tversky index of the classes present; divide by the samples of the step.

    index_k = (TP + 0.5) / (TP + alpha FP + beta FN + 0.5) with TP = sum w p_k y_k, FP = sum w p_k (1 - y_k) and
    FN = sum w (1 - p_k) y_k over labelled pixels of weight w. A sample without any labelled pixel adds 0.
    """
    probs, truth, weight = probs_truth_weight(logits_NKHW, labels_NHW, weight_NHW)
    true_positive = (probs * truth * weight).sum(dim=(2, 3))
    false_positive = (probs * (1 - truth) * weight).sum(dim=(2, 3))
    false_negative = ((1 - probs) * truth * weight).sum(dim=(2, 3))
    present = (truth * weight).sum(dim=(2, 3)) > 0
    index = (true_positive + _SMOOTH) / (true_positive + alpha * false_positive + beta * false_negative + _SMOOTH)
    return mean_of_present(1 - index, present)
