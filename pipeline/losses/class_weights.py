"""Class weights from train pixel counts, or by name."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import ModelError
from pipeline.params.loss import LossParams
from pipeline.types import AnyArray


def class_weights(counts_K: AnyArray, params: LossParams, classes: Sequence[str]) -> AnyArray:
    """Weights by class, float64, scaled so that their mean over labelled pixels is 1; absent classes get 0.

    The effective number of n pixels is (1 - beta^n) / (1 - beta) and a class's weight its inverse (Cui et al. 2019):
    nearly n for n far below 1 / (1 - beta), and the same for all classes far above.

    Args:
        counts_K: labelled train pixels of each class.
        params: which weights.
        classes: the names of the classes, in order.

    Raises:
        ModelError: given weights name a class that is not among `classes`, or leave every class at 0.
    """
    counts = np.asarray(counts_K, dtype=np.float64)
    present = counts > 0
    at_least_1 = np.maximum(counts, 1)
    match params.class_weights:
        case "none":
            raw = np.ones_like(counts)
        case "inverse_sqrt":
            raw = np.power(at_least_1, -0.5)
        case "inverse":
            raw = np.power(at_least_1, -1.0)
        case "effective_number":
            raw = _inverse_effective_number(at_least_1, params.effective_beta, present)
        case "given":
            raw = np.array(by_class(params.given_weights, classes, "train.loss.given_weights"))
    weights = np.where(present, raw, 0.0)
    if not weights.any():
        raise ModelError("train.loss.given_weights must leave a class that the train part has a weight above 0: "
                         f"got {dict(params.given_weights)}; raise one")
    scaled: AnyArray = weights * counts.sum() / (weights * counts).sum()
    return scaled


def by_class(named: Mapping[str, float], classes: Sequence[str], subject: str) -> list[float]:
    """A factor for each class in order: the named ones, 1 for the others. `subject` is the parameter with the names.

    Raises:
        ModelError: there is no such class.
    """
    if unknown := [name for name in named if name not in classes]:
        raise ModelError(f"{subject} must name classes that the split tells apart, {list(classes)}: "
                         f"got {unknown[0]!r}; a merged class goes by the name of the one that took it in")
    return [named.get(name, 1.0) for name in classes]


def _inverse_effective_number(counts_K: AnyArray, beta: float, present_K: AnyArray) -> AnyArray:
    inverse: AnyArray = (1 - beta) / -np.expm1(counts_K * np.log(beta))
    some = counts_K[present_K]
    if some.max() > 2 * some.min() and inverse[present_K].max() < 1.01 * inverse[present_K].min():
        warnings.warn(f"train.loss.class_weights: effective_number has no effect: with effective_beta={beta:g} all "
                      f"counts above {5 / (1 - beta):.0f} pixels weigh the same, and the rarest class has "
                      f"{some.min():.0f}; bring effective_beta nearer to 1", stacklevel=3)
    return inverse
