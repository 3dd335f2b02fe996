"""The weighted sum of loss terms over one optimizer step, which may be split over parts and devices."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.losses.boundary import boundary_head_sum, boundary_sum
from pipeline.losses.class_weights import by_class
from pipeline.losses.cross_entropy import cross_entropy_sum, pixel_importance
from pipeline.losses.dice import dice_sum
from pipeline.losses.focal import focal_sum
from pipeline.losses.lovasz import lovasz_sum
from pipeline.losses.mcc import mcc_sum
from pipeline.losses.pixels import upcast
from pipeline.losses.tversky import tversky_sum
from pipeline.params.loss import LossParams

#: An epoch in which every term has its full weight.
FULLY_RAMPED = sys.maxsize
#: Terms that are sums over pixels, divided by the step's importance; the others are sums over samples.
BY_PIXEL = ("cross_entropy", "focal")


@dataclass(frozen=True)
class StepTotals:
    """What a whole step (all parts, all devices) is divided by: its importance and its number of samples."""

    importance: float
    samples: int


class TotalLoss:
    """Terms with weight above 0, each divided by the totals of the whole step.

    Parts add up to the step's loss, but in the term mcc: that is no sum over pixels or samples, and is of each part (on
    all devices) by itself, so that a step in parts sums the parts' values weighted by their samples.
    """

    def __init__(self, params: LossParams, class_weights_K: Tensor,
                 over_devices: Callable[[Tensor], Tensor] = lambda own: own, classes: Sequence[str] = ()) -> None:
        """Resolve class names.

        Args:
            params: terms, their weights and settings.
            class_weights_K: weight of each class in cross-entropy and focal; best on the device of the logits, so that
                no step waits for a copy.
            over_devices: the differentiable sum of a tensor over all devices (see pipeline.losses.devices), called on
                each as often as on the others.
            classes: names by id, needed where `params` names a class.

        Raises:
            ModelError: `params` names a class that is not among `classes`.
        """
        self._params = params
        self._class_weights = class_weights_K
        self._over_devices = over_devices
        self._alpha = torch.tensor(by_class(params.focal.alpha, classes or [""] * len(class_weights_K),
                                            "train.loss.focal.alpha"), dtype=class_weights_K.dtype,
                                   device=class_weights_K.device)
        by_class(dict.fromkeys(params.boundary.interface, 0.0), classes, "train.loss.boundary.interface")
        self._interface = tuple(tuple(classes).index(name) for name in params.boundary.interface)

    def importance(self, labels_NHW: Tensor, weight_NHW: Tensor) -> float:
        """Importance of a part; add up over the parts of a step for its StepTotals."""
        return float(pixel_importance(labels_NHW, weight_NHW, self._class_weights.to(labels_NHW.device)).sum())

    def __call__(self, logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor, totals: StepTotals,
                 epoch: int = FULLY_RAMPED, boundary_N1HW: Tensor | None = None) -> Tensor:
        """This part's share of the step's loss in an epoch (from 0), a scalar; 0 for a step without labelled pixels.

        Args:
            logits_NKHW: of the classes.
            labels_NHW: int64, 255 = ignore.
            weight_NHW: weight of each pixel, at least 0.
            totals: of the whole step.
            epoch: counted from 0, for terms that come in later.
            boundary_N1HW: logits of the boundary head, if the network has one.
        """
        # Products of matrices would be rounded to half precision under autocast.
        with torch.autocast(logits_NKHW.device.type, enabled=False):
            terms = [share for name in self._params.weights.terms if (share := self._share(
                name, logits_NKHW, labels_NHW, weight_NHW, totals, epoch, boundary_N1HW)) is not None]
            return torch.stack(terms).sum() if terms else upcast(logits_NKHW).sum() * 0

    def _share(self, name: str, logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor, totals: StepTotals,
               epoch: int, boundary_N1HW: Tensor | None) -> Tensor | None:
        """Weight x term of this part, None where there is nothing to weigh or to divide by."""
        weight = self._params.weight(name, epoch)
        divisor = totals.importance if name in BY_PIXEL else totals.samples
        if not weight or not divisor:
            return None
        return weight * self._summed(name, logits_NKHW, labels_NHW, weight_NHW, boundary_N1HW) / divisor

    def _summed(self, name: str, logits_NKHW: Tensor, labels_NHW: Tensor, weight_NHW: Tensor,
                boundary_N1HW: Tensor | None) -> Tensor:
        """A term's sum over this part's pixels (cross-entropy, focal) or samples (the others)."""
        params = self._params
        match name:
            case "cross_entropy":
                importance = pixel_importance(labels_NHW, weight_NHW, self._class_weights.to(labels_NHW.device))
                return cross_entropy_sum(logits_NKHW, labels_NHW, importance, params.label_smoothing)
            case "focal":
                importance = pixel_importance(labels_NHW, weight_NHW, self._class_weights.to(labels_NHW.device))
                return focal_sum(logits_NKHW, labels_NHW, importance, self._alpha.to(labels_NHW.device),
                                 params.focal.gamma)
            case "dice":
                return dice_sum(logits_NKHW, labels_NHW, weight_NHW)
            case "tversky":
                return tversky_sum(logits_NKHW, labels_NHW, weight_NHW, params.tversky.alpha, params.tversky.beta)
            case "lovasz":
                return lovasz_sum(logits_NKHW, labels_NHW, weight_NHW)
            case "mcc":
                return mcc_sum(logits_NKHW, labels_NHW, weight_NHW, self._over_devices)
            case "boundary":
                near = params.boundary
                value = boundary_sum(logits_NKHW, labels_NHW, weight_NHW, near.sigma_px, self._interface,
                                     near.interface_weight)
                if boundary_N1HW is None or not near.head_weight:
                    return value
                return value + near.head_weight * boundary_head_sum(boundary_N1HW, labels_NHW, weight_NHW,
                                                                    near.width_px)
        raise ModelError(f"train.loss.weights must name a known term: got {name!r}")
