"""What all losses share: logits in full precision, and which labels have a say.

Shape legend: N samples, K classes, H rows, W columns.
"""

import torch
from torch import Tensor

from pipeline.types import IGNORE_INDEX


def upcast(logits: Tensor) -> Tensor:
    """Logits in at least float32: half precision is raised, float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def class_index(labels_NHW: Tensor) -> Tensor:
    """Labels that can index classes: 0 in place of ignore (give those pixels no weight)."""
    return torch.where(labels_NHW == IGNORE_INDEX, torch.zeros_like(labels_NHW), labels_NHW)


def probs_truth_weight(logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax and one-hot labels, both NKHW, and pixel weights N1HW that are 0 where ignored.

    The one-hot label of an ignored pixel means nothing: multiply by the weight.
    """
    probs = torch.softmax(upcast(logits_NKHW), dim=1)
    truth = torch.zeros_like(probs).scatter_(1, class_index(labels_NHW).unsqueeze(1), 1.0)
    return probs, truth, (weight_NHW * (labels_NHW != IGNORE_INDEX)).unsqueeze(1)


def mean_of_present(loss_NK: Tensor, present_NK: Tensor) -> Tensor:
    """Sum over samples of the mean over the classes present; a sample without any adds 0."""
    return ((loss_NK * present_NK).sum(dim=1) / present_NK.sum(dim=1).clamp(min=1)).sum()
