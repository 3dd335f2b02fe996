"""Where classes meet, and how far each pixel is from there; all on the tensors' own device, without gradients.

Shape legend: N samples, H rows, W columns.
"""

import torch
from torch import Tensor

from pipeline.types import IGNORE_INDEX


def boundary_pixels(labels_NHW: Tensor, weight_NHW: Tensor, pair: tuple[int, ...] = ()) -> Tensor:
    """Pixels (bool NHW) with one of their four neighbours in another class, both labelled and of weight above 0.

    Args:
        labels_NHW: class ids, 255 = ignore: such a pixel is no other class, so it makes no boundary.
        weight_NHW: pixels of weight 0 count as not labelled.
        pair: only where these two classes meet.
    """
    known = (labels_NHW != IGNORE_INDEX) & (weight_NHW > 0)
    result = torch.zeros_like(known)
    for dim in (1, 2):
        size = labels_NHW.shape[dim] - 1
        one, other = (labels_NHW.narrow(dim, start, size) for start in (0, 1))
        meet = (one != other) & known.narrow(dim, 0, size) & known.narrow(dim, 1, size)
        if pair:
            a, b = pair
            meet &= ((one == a) & (other == b)) | ((one == b) & (other == a))
        for start in (0, 1):
            result.narrow(dim, start, size).logical_or_(meet)
    return result


def squared_distance(mask_NHW: Tensor, reach_px: int) -> Tensor:
    """Squared Euclidean distance in pixels to the nearest True of the sample, float32 NHW; inf beyond `reach_px`.

    Exact: the least over columns of (the least over rows of row^2) + column^2 (Felzenszwalb & Huttenlocher
    2012), each looked for within reach only. Whole numbers below 2^24 are exact in float32.
    """
    far = torch.full(mask_NHW.shape, torch.inf, device=mask_NHW.device)
    squared = torch.where(mask_NHW, torch.zeros_like(far), far)
    for dim in (1, 2):
        squared = _least_within(squared, reach_px, dim)
    return torch.where(squared > reach_px**2, far, squared)


def _least_within(squared_NHW: Tensor, reach_px: int, dim: int) -> Tensor:
    """The least of value + step^2 over the pixels at most `reach_px` steps away along one dimension."""
    result = squared_NHW.clone()
    size = squared_NHW.shape[dim]
    for step in range(1, min(reach_px, size - 1) + 1):
        for here, there in ((0, step), (step, 0)):
            view = result.narrow(dim, here, size - step)
            torch.minimum(view, squared_NHW.narrow(dim, there, size - step) + step**2, out=view)
    return result
