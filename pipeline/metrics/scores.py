"""Scores of confusion matrices, one formula a function, over any number of matrices at once.

A score that is 0/0 is NaN, never 0 or 1 by convention: the IoU and F1 of a class in neither truth nor
prediction, the recall of a class without truth, the precision of a class never predicted, MCC where truth or
prediction has only one class (a majority vote has no MCC), kappa where both have only the same one. Callers
that order scores treat NaN as worst.

Shape legend: ... any number of leading axes, K classes; counts are [true, predicted].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.metrics.confusion import Confusion
from pipeline.types import AnyArray

ScoreArray = npt.NDArray[np.float64]


def _ratio(numerator: ScoreArray, denominator: ScoreArray) -> ScoreArray:
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def _marginals(counts: AnyArray) -> tuple[ScoreArray, ScoreArray, ScoreArray]:
    """True positives, truth totals and prediction totals, each ...K float64."""
    exact = counts.astype(np.float64)
    return np.diagonal(exact, axis1=-2, axis2=-1), exact.sum(axis=-1), exact.sum(axis=-2)


def mcc_of(counts: AnyArray) -> ScoreArray:
    """Multi-class Matthews correlation R_K, from -1 to 1, of ...KK counts (Gorodkin 2004, eq. 8)."""
    hit, true, predicted = _marginals(counts)
    total = true.sum(axis=-1)
    covariance = hit.sum(axis=-1) * total - (true * predicted).sum(axis=-1)
    spread_true = total**2 - (true**2).sum(axis=-1)
    spread_predicted = total**2 - (predicted**2).sum(axis=-1)
    return _ratio(covariance, np.sqrt(spread_true) * np.sqrt(spread_predicted))


def kappa_of(counts: AnyArray) -> ScoreArray:
    """Cohen's kappa, at most 1, of ...KK counts (Cohen 1960)."""
    hit, true, predicted = _marginals(counts)
    total = true.sum(axis=-1)
    chance = (true * predicted).sum(axis=-1)
    return _ratio(hit.sum(axis=-1) * total - chance, total**2 - chance)


def accuracy_of(counts: AnyArray) -> ScoreArray:
    """Share of pixels predicted right, 0 to 1, of ...KK counts."""
    hit, true, _ = _marginals(counts)
    return _ratio(hit.sum(axis=-1), true.sum(axis=-1))


def iou_of(counts: AnyArray) -> ScoreArray:
    """Intersection over union per class (Jaccard), ...K, of ...KK counts."""
    hit, true, predicted = _marginals(counts)
    return _ratio(hit, true + predicted - hit)


def macro_iou_of(counts: AnyArray) -> ScoreArray:
    """Mean IoU over the classes in truth or prediction, of ...KK counts; one only predicted counts as 0."""
    iou = iou_of(counts)
    present = ~np.isnan(iou)
    return _ratio(np.where(present, iou, 0.0).sum(axis=-1), present.sum(axis=-1).astype(np.float64))


def f1_of(counts: AnyArray) -> ScoreArray:
    """F1 (Dice) per class, ...K, of ...KK counts."""
    hit, true, predicted = _marginals(counts)
    return _ratio(2 * hit, true + predicted)


def precision_of(counts: AnyArray) -> ScoreArray:
    """Share of a class's predicted pixels that are right, ...K, of ...KK counts."""
    hit, _, predicted = _marginals(counts)
    return _ratio(hit, predicted)


def recall_of(counts: AnyArray) -> ScoreArray:
    """Share of a class's true pixels that are found, ...K, of ...KK counts."""
    hit, true, _ = _marginals(counts)
    return _ratio(hit, true)


def class_mcc_of(counts: AnyArray) -> ScoreArray:
    """Matthews correlation of each class against all others, ...K, of ...KK counts (Matthews 1975)."""
    hit, true, predicted = _marginals(counts)
    total = true.sum(axis=-1, keepdims=True)
    spread = np.sqrt(true * (total - true)) * np.sqrt(predicted * (total - predicted))
    return _ratio(hit * total - true * predicted, spread)


#: Score name -> formula: one value a matrix, and one a class.
OVERALL = {"mcc": mcc_of, "kappa": kappa_of, "accuracy": accuracy_of, "macro_iou": macro_iou_of}
BY_CLASS = {"iou": iou_of, "f1": f1_of, "precision": precision_of, "recall": recall_of,
            "class_mcc": class_mcc_of}


def flat_scores(counts: AnyArray, classes: Sequence[str]) -> dict[str, ScoreArray]:
    """Every score of ...KK counts by a flat name (`mcc`, `iou.water`), each of shape `...`."""
    flat = {name: formula(counts) for name, formula in OVERALL.items()}
    for name, formula in BY_CLASS.items():
        values = formula(counts)
        flat.update({f"{name}.{label}": values[..., i] for i, label in enumerate(classes)})
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`iou.water` -> {"iou": {"water": ...}}: the form of metrics.json."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        metric, _, label = name.partition(".")
        if label:
            tree.setdefault(metric, {})[label] = value
        else:
            tree[metric] = value
    return tree


def mcc(confusion: Confusion) -> float:
    """Multi-class Matthews correlation R_K; NaN where truth or prediction has only one class."""
    return float(mcc_of(confusion.matrix))


def kappa(confusion: Confusion) -> float:
    """Cohen's kappa; NaN where truth and prediction have only the same one class."""
    return float(kappa_of(confusion.matrix))


def accuracy(confusion: Confusion) -> float:
    """Share of pixels predicted right; NaN without pixels."""
    return float(accuracy_of(confusion.matrix))


def macro_iou(confusion: Confusion) -> float:
    """Mean IoU over the classes present in truth or prediction; NaN without pixels."""
    return float(macro_iou_of(confusion.matrix))


def iou(confusion: Confusion) -> ScoreArray:
    """IoU per class id, shape K; NaN for a class in neither truth nor prediction."""
    return iou_of(confusion.matrix)


def scores(confusion: Confusion, classes: Sequence[str]) -> dict[str, Any]:
    """All scores as nested plain floats: {"mcc": ..., "iou": {class: ...}, ...}; NaN where 0/0."""
    return nested({name: float(value) for name, value in flat_scores(confusion.matrix, classes).items()})
