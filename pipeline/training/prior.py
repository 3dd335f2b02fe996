"""Class priors: what rebalancing puts into the logits, and how it is taken out; several rebalancings are warned of.

Shape legend: K classes.
"""

import warnings
from collections.abc import Sequence

import numpy as np

from pipeline.errors import ModelError
from pipeline.losses.class_weights import by_class
from pipeline.params.train import TrainParams
from pipeline.types import AnyArray


def logit_bias(true_K: AnyArray, drawn_K: AnyArray, importance_K: AnyArray,
               classes: Sequence[str]) -> tuple[float, ...]:
    """What to add to the logits so that softmax gives posteriors under the classes' true shares.

    A network that minimizes cross-entropy weighted by w_k on pixels drawn with the class shares s_k learns posteriors
    proportional to w_k s_k p(x | k); those for the shares t_k follow by the factor t_k / (w_k s_k), so the bias is its
    logarithm (Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
    probabilities", eq. 2.4; Menon et al. 2021, "Long-tail learning via logit adjustment"). Shares are normalized first.

    Args:
        true_K: labelled train pixels, or shares, of each class.
        drawn_K: share of each class in the weights of the labelled pixels drawn.
        importance_K: what the loss weighs a class with beside these weights.
        classes: names by id.

    Returns:
        One value a class; a class without train pixels has the least of the others'. () if nothing is to be corrected.

    Raises:
        ModelError: a class with train pixels is never drawn or has no weight.
    """
    present = np.asarray(true_K) > 0
    met_K = np.asarray(drawn_K, dtype=np.float64) * importance_K
    if never := [name for name, there, met in zip(classes, present, met_K, strict=True) if there and not met > 0]:
        raise ModelError(f"train.calibration.prior needs every class to be drawn and to have a weight above 0: {never} "
                         "are not; give them a share in train.patches.sampling and a weight in train.loss")
    true = np.asarray(true_K, dtype=np.float64)[present]
    met = met_K[present]
    bias = np.log(true / true.sum()) - np.log(met / met.sum())
    if np.abs(bias).max() < 1e-9:
        return ()
    found = np.full(len(classes), bias.min())
    found[present] = bias
    return tuple(found.tolist())


def pixel_importance(class_weights_K: AnyArray, params: TrainParams, classes: Sequence[str]) -> AnyArray:
    """How much a pixel of each class weighs in the terms that are sums over pixels, cross-entropy and focal; float64 K.

    Of the other terms none leads to posteriors (dice, Tversky, Lovász, MCC) or weighs classes (boundary), so they have
    no say here.
    """
    weights = params.loss.weights
    total = weights.cross_entropy + weights.focal
    if not total:
        return np.ones(len(classes))
    alpha = np.array(by_class(params.loss.focal.alpha, classes, "train.loss.focal.alpha"))
    importance: AnyArray = class_weights_K * (weights.cross_entropy + weights.focal * alpha) / total
    return importance


def rebalancings(params: TrainParams) -> list[str]:
    """The settings that favour rare classes, as `key: value`."""
    sampling, loss = params.patches.sampling, params.loss
    found = []
    if sampling.name == "balanced":
        found.append("train.patches.sampling.name: balanced")
    if loss.class_weights != "none" and loss.weights.cross_entropy + loss.weights.focal > 0:
        found.append(f"train.loss.class_weights: {loss.class_weights}")
    if loss.weights.focal > 0 and len({*loss.focal.alpha.values(), 1.0}) > 1:
        found.append(f"train.loss.focal.alpha: {dict(loss.focal.alpha)}")
    if params.patches.augmentation.copy_paste > 0:
        found.append(f"train.patches.augmentation.copy_paste: {params.patches.augmentation.copy_paste:g}")
    return found


#: What switches each of them off.
_OFF = {"train.patches.sampling.name": "random", "train.loss.class_weights": "none", "train.loss.focal.alpha": "{}",
        "train.patches.augmentation.copy_paste": "0"}


def warn_of_several(params: TrainParams) -> None:
    """Warn where more than one setting favours rare classes: each is meant to do it alone, together they overshoot."""
    found = rebalancings(params)
    if len(found) > 1:
        off = ", ".join(f"{key}: {_OFF[key]}" for key in (entry.partition(":")[0] for entry in found))
        warnings.warn(f"classes are rebalanced {len(found)} times over, by {' and '.join(found)}: their factors "
                      f"multiply, and rare classes are predicted too often; keep one and switch off the others ({off})",
                      stacklevel=3)
