"""Cross-entropy where classes meet, and the boundary head's own loss; by sample.

Shape legend: N samples, K classes, H rows, W columns.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pipeline.losses.cross_entropy import log_prob_of_label
from pipeline.losses.distance import boundary_pixels, squared_distance
from pipeline.losses.pixels import upcast
from pipeline.types import IGNORE_INDEX


def nearness(labels_NHW: Tensor, weight_NHW: Tensor, sigma_px: float, pair: tuple[int, ...] = ()) -> Tensor:
    """exp(-d^2 / (2 sigma^2)), d the distance to the nearest pixel that touches another class; 0 beyond 3 sigma.

    1 on these pixels themselves. With `pair`, of the boundaries between these two classes only.
    """
    reach_px = math.ceil(3 * sigma_px)
    squared = squared_distance(boundary_pixels(labels_NHW, weight_NHW, pair), reach_px)
    return torch.exp(-squared / (2 * sigma_px**2)) * (squared <= (3 * sigma_px) ** 2)


def boundary_sum(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor, sigma_px: float,
                 pair: tuple[int, ...] = (), pair_weight: float = 1.0) -> Tensor:
    """Sum over samples of the mean cross-entropy near class boundaries; divide by the number of samples of the step.

    For a sample: sum w (g + (f - 1) g_ab) CE / sum w g, over labelled pixels of weight w, with g the nearness of a
    class boundary (the distance weight map of Ronneberger et al. 2015, eq. 2, with one distance), g_ab that of a
    boundary between the pair and f its weight: on ground near the pair alone the loss is f times the mean. A sample
    without boundaries adds 0.
    """
    with torch.no_grad():
        near = nearness(labels_NHW, weight_NHW, sigma_px)
        emphasis = near
        if pair:
            emphasis = near + (pair_weight - 1) * nearness(labels_NHW, weight_NHW, sigma_px, pair)
        weight = weight_NHW * (labels_NHW != IGNORE_INDEX)
    log_prob = log_prob_of_label(torch.log_softmax(upcast(logits_NKHW), dim=1), labels_NHW)
    return _mean_by_sample(-log_prob * emphasis, weight, near).sum()


def boundary_head_sum(boundary_N1HW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor, width_px: int) -> Tensor:
    """Sum over samples of the balanced binary cross-entropy of the boundary head; divide by the step's samples.

    The target is 1 on pixels nearer than `width_px` to one that touches another class. Boundary and other pixels have
    half the say each (Xie & Tu 2015, eq. 2, where the halves weigh as the other's share); a half without pixels adds 0.
    """
    logits = upcast(boundary_N1HW).squeeze(1)
    with torch.no_grad():
        squared = squared_distance(boundary_pixels(labels_NHW, weight_NHW), width_px)
        on = (squared < width_px**2).to(logits.dtype)
        weight = weight_NHW * (labels_NHW != IGNORE_INDEX)
    halves = _mean_by_sample(softplus(-logits) * on, weight, on) + _mean_by_sample(softplus(logits) * (1 - on), weight,
                                                                                  1 - on)
    return halves.sum() / 2


def _mean_by_sample(value_NHW: Tensor, weight_NHW: Tensor, over_NHW: Tensor) -> Tensor:
    """The quotient of sums of weight x value and weight x over by sample, N; 0 where the divisor is."""
    divisor = (weight_NHW * over_NHW).sum(dim=(1, 2))
    return (value_NHW * weight_NHW).sum(dim=(1, 2)) / torch.where(divisor > 0, divisor, torch.ones_like(divisor))
