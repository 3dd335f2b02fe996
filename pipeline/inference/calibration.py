"""One temperature for a trained member's logits, fitted on val (Guo et al. 2017, "On calibration of modern networks").

Shape legend: N images, P pixels, K classes, H rows, W columns.
"""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.networks.segmenter import Segmenter
from pipeline.types import IGNORE_INDEX, AnyArray, UInt8Array

#: Pixels looked at, and values of their logits: one number is fitted, which more would not make better.
_PIXELS, _VALUES = 1_000_000, 8_000_000

#: Temperatures tried.
_LEAST, _MOST = 0.05, 20.0

#: Relative accuracy of the temperature, and steps at most; a handful will do.
_ACCURACY, _STEPS = 1e-6, 100

#: Bins of confidence for the expected calibration error.
_BINS = 15


class ValLogits(Protocol):
    """Gives the logits of the val part, such as inference.validation.ValScorer."""

    def logits(self, segmenter: Segmenter) -> Iterator[tuple[Tensor, UInt8Array]]:
        """Batches of logits NKHW and labels NHW, 255 = not val."""
        ...

    def label_counts(self) -> AnyArray:
        """Labelled val pixels by class id, 256 int64."""
        ...


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and what it does on the val pixels looked at: below 1 sharpens, above 1 softens."""

    temperature: float
    pixels: int
    #: Mean negative log-likelihood in nats.
    nll_before: float
    nll_after: float
    #: Expected calibration error, from 0 to 1.
    ece_before: float
    ece_after: float

    def report(self) -> dict[str, float]:
        """The numbers by name, for metrics.json."""
        return asdict(self)


def calibrate(segmenter: Segmenter, val: ValLogits, device: torch.device | str = "cpu") -> Calibration:
    """Fit the temperature on val and put it into the segmenter's spec; weights and decisions stay as they are.

    Of more than a million labelled val pixels every n-th is looked at.

    Args:
        segmenter: trained, in evaluation mode; back on the CPU in the end.
        val: logits of the val part, without any of test ground.
        device: where to compute them.

    Raises:
        ModelError: the val part has no labelled pixel.
    """
    segmenter.to(device)
    logits_PK, labels_P = _gathered(segmenter, val)
    segmenter.to("cpu")
    factor = temperature(logits_PK, labels_P)
    spec = segmenter.spec
    segmenter.spec = spec.model_copy(update={"temperature": float(f"{spec.temperature * factor:.7g}")})
    before, after = log_softmax(logits_PK), log_softmax(logits_PK / factor)
    return Calibration(segmenter.spec.temperature, len(labels_P), negative_log_likelihood(before, labels_P),
                       negative_log_likelihood(after, labels_P), expected_calibration_error(before, labels_P),
                       expected_calibration_error(after, labels_P))


def _gathered(segmenter: Segmenter, val: ValLogits) -> tuple[AnyArray, AnyArray]:
    """Logits float64 PK, bias included, and class ids P of every n-th labelled val pixel."""
    labelled = int(val.label_counts()[:IGNORE_INDEX].sum())
    if not labelled:
        raise ModelError("train.calibration.temperature needs labelled val pixels: got none; switch it off, or split "
                         "again")
    step = -(-labelled // min(_PIXELS, _VALUES // len(segmenter.spec.classes)))
    logits, labels, seen = [], [], 0
    for batch, truth_NHW in val.logits(segmenter):
        with torch.inference_mode():
            values_NHWK = segmenter.adjusted(batch).movedim(1, -1).cpu().numpy()
        known = (truth_NHW != IGNORE_INDEX).nonzero()
        chosen = tuple(axis[-seen % step::step] for axis in known)
        logits.append(values_NHWK[chosen].astype(np.float64))
        labels.append(truth_NHW[chosen])
        seen += len(known[0])
    return np.concatenate(logits), np.concatenate(labels)


def temperature(logits_PK: AnyArray, labels_P: AnyArray) -> float:
    """The T that minimizes the negative log-likelihood of softmax(logits / T), from 0.05 to 20.

    As a function of 1 / T the likelihood is convex, so Newton's method finds the one minimum, kept between bounds that
    close in on it.
    """
    low, high = 1 / _MOST, 1 / _LEAST
    slopes = [_slope(logits_PK, labels_P, sharpness)[0] for sharpness in (low, high)]
    if slopes[0] >= 0 or slopes[1] <= 0:
        bound = _MOST if slopes[0] >= 0 else _LEAST
        why = "no better than at random" if bound == _MOST else "without a mistake"
        warnings.warn(f"train.calibration.temperature stops at its bound {bound:g}: the {len(labels_P)} val pixels are "
                      f"predicted {why}; a larger val part or a better network would bound it", stacklevel=3)
        return bound
    sharpness = 1.0
    for _ in range(_STEPS):
        slope, curvature = _slope(logits_PK, labels_P, sharpness)
        low, high = (low, sharpness) if slope > 0 else (sharpness, high)
        step = sharpness - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - sharpness) <= _ACCURACY * sharpness:
            break
        sharpness = following
    return 1 / following


def _slope(logits_PK: AnyArray, labels_P: AnyArray, sharpness: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood with respect to 1 / T."""
    probs = np.exp(log_softmax(sharpness * logits_PK))
    mean = (probs * logits_PK).sum(axis=1)
    right = logits_PK[np.arange(len(labels_P)), labels_P]
    variance = (probs * (logits_PK - mean[:, None]) ** 2).sum(axis=1)
    return float((mean - right).mean()), float(variance.mean())


def log_softmax(logits_PK: AnyArray) -> AnyArray:
    """Logarithms of the class probabilities."""
    shifted = logits_PK - logits_PK.max(axis=1, keepdims=True)
    result: AnyArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def negative_log_likelihood(logs_PK: AnyArray, labels_P: AnyArray) -> float:
    """Mean over pixels of -log of the probability given to the label."""
    return -float(logs_PK[np.arange(len(labels_P)), labels_P].mean())


def expected_calibration_error(logs_PK: AnyArray, labels_P: AnyArray) -> float:
    """Mean over pixels of |accuracy - confidence| of their bin, of 15 equal ones; Guo et al. (2017), eq. 3."""
    confidence = np.exp(logs_PK.max(axis=1))
    right = logs_PK.argmax(axis=1) == labels_P
    bins = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels_P))
