"""Lovász-softmax: the convex extension of the Jaccard loss, by sample (Berman, Triki & Blaschko 2018).

Shape legend: N samples, K classes, H rows, W columns, P = H x W pixels.
"""

import torch
from torch import Tensor

from pipeline.losses.pixels import mean_of_present, probs_truth_weight

#: Steps that a pixel weight of 1 is counted in. Whole numbers add up to the same on every device and in every order,
#: and their running sums have deterministic CUDA kernels in every version of torch.
_STEPS = 2**20


def lovasz_sum(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor) -> Tensor:
    """Sum over samples of the mean Lovász loss of the classes present; divide by the number of samples of the step.

    A class's loss is sum_i m_i g_i: the errors m = |y - p| in falling order (equal ones in order of place), and g the
    rise of the Jaccard loss 1 - |both| / |either| as pixel after pixel becomes wrong; a pixel counts its weight (to
    2^-20). g depends on the order alone, so its slope is g itself. A sample without labelled pixels adds 0.
    """
    probs, truth, weight = probs_truth_weight(logits_NKHW, labels_NHW, weight_NHW)
    errors = torch.where(truth > 0, 1 - probs, probs).flatten(2)
    with torch.no_grad():
        steps_N1P = (weight * _STEPS).round().to(torch.int64).flatten(2)
        in_class, outside = (mask.flatten(2) * steps_N1P for mask in (truth > 0, truth == 0))
        slopes = _jaccard_rise(errors, in_class, outside)
    return mean_of_present((errors * slopes).sum(dim=2), in_class.sum(dim=2) > 0)


def _jaccard_rise(errors_NKP: Tensor, in_class_NKP: Tensor, outside_NKP: Tensor) -> Tensor:
    """By pixel, how much the Jaccard loss rises when it becomes wrong after all pixels with a larger error."""
    order = errors_NKP.argsort(dim=2, descending=True, stable=True)
    missed, extra = in_class_NKP.gather(2, order), outside_NKP.gather(2, order)
    size = in_class_NKP.sum(dim=2, keepdim=True)
    both = size - missed.cumsum(dim=2)
    either = (size + extra.cumsum(dim=2)).clamp(min=1)
    before = (either - extra).clamp(min=1)
    dtype = errors_NKP.dtype
    # A missed pixel takes itself from both; an extra one adds itself to either. No difference of near equal numbers.
    rise = (missed.to(dtype) + both.to(dtype) / before.to(dtype) * extra.to(dtype)) / either.to(dtype)
    return torch.zeros_like(errors_NKP).scatter_(2, order, rise)
