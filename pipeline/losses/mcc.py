"""Multi-class Matthews correlation as a loss: 1 - R_K (Gorodkin 2004) of a soft confusion matrix.

Shape legend: N samples, K classes, H rows, W columns, P = H x W pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.losses.pixels import probs_truth_weight

#: Least product of the two spreads under the root. Both are shares between 0 and 1.
_LEAST = 1e-12


def mcc_sum(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor,
            over_devices: Callable[[Tensor], Tensor]) -> Tensor:
    """Number of samples x (1 - R_K) over one part of a step; divide by the number of samples of the step.

    R_K is of all pixels together and not a mean over samples, for most samples lack most classes. Its confusion
    matrix C_kl = sum w y_k p_l is summed over devices, each of which then gives its samples' share of one value.

    Where all labels are one class, R_K is 0/0: the loss is 0 and has no slope. Predictions of one class only have
    R_K = 0, loss 1.
    """
    probs, truth, weight = probs_truth_weight(logits_NKHW, labels_NHW, weight_NHW)
    by_sample = (truth * weight).flatten(2).to(probs.dtype) @ probs.flatten(2).transpose(1, 2)
    confusion = over_devices(by_sample.sum(dim=0))
    return len(logits_NKHW) * _one_minus_rk(confusion)


def _one_minus_rk(confusion_KK: Tensor) -> Tensor:
    """1 - R_K of a confusion matrix (rows: truth); 0 where its rows but one are empty.

    With shares c_kl of the total, t_k of rows and p_k of columns:
    R_K = sum_k (c_kk - t_k p_k) / sqrt((1 - sum t_k^2) (1 - sum p_k^2)). Each difference is written as a sum of
    products (1 - sum p_k^2 = sum of p_k p_l over k != l; c_kk - t_k p_k = TP TN - FN FP), which keeps its digits where
    nearly everything is one class.
    """
    total = confusion_KK.sum()
    share = confusion_KK / torch.where(total > 0, total, torch.ones_like(total))
    others = 1 - torch.eye(len(share), dtype=share.dtype, device=share.device)
    truth, predicted = share.sum(dim=1), share.sum(dim=0)
    hits = share.diagonal()
    missed, extra = (share * others).sum(dim=1), (share * others).sum(dim=0)
    # Pixels that neither are class k nor look like it: rows and columns but the k-th.
    neither = torch.einsum("ki,ij,kj->k", others, share, others)
    covariance = (hits * neither - missed * extra).sum()
    spread_truth, spread_predicted = truth @ others @ truth, predicted @ others @ predicted
    rk = covariance / (spread_truth * spread_predicted).clamp(min=_LEAST).sqrt()
    return torch.where(spread_truth > 0, 1 - rk, 0 * rk)
