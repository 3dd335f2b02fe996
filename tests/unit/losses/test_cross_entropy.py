"""Cross-entropy and focal loss against values worked out by hand."""

import math

import pytest
import torch

from pipeline.losses.cross_entropy import cross_entropy_sum, pixel_importance
from pipeline.losses.focal import focal_sum

TWO_PIXELS = torch.log(torch.tensor([[[[0.5, 0.1]], [[0.25, 0.8]], [[0.25, 0.1]]]], dtype=torch.float64))
LABELS = torch.tensor([[[0, 1]]])


def test_cross_entropy_of_two_pixels_by_hand():
    importance = pixel_importance(LABELS, torch.tensor([[[1.0, 0.5]]]), torch.tensor([2.0, 1.0, 1.0]))
    assert importance.tolist() == [[[2.0, 0.5]]]
    expected = -2 * math.log(0.5) - 0.5 * math.log(0.8)
    assert float(cross_entropy_sum(TWO_PIXELS, LABELS, importance)) == pytest.approx(expected)


def test_label_smoothing_by_hand():
    # Targets with e = 0.3 over three classes: 0.7 + 0.1 for the label, 0.1 for each of the others.
    first = -(0.8 * math.log(0.5) + 0.1 * math.log(0.25) * 2)
    second = -(0.8 * math.log(0.8) + 0.1 * math.log(0.1) * 2)
    value = cross_entropy_sum(TWO_PIXELS, LABELS, torch.tensor([[[2.0, 0.5]]]), smoothing=0.3)
    assert float(value) == pytest.approx(2 * first + 0.5 * second)


def test_label_smoothing_is_that_of_torch():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 5, 5, dtype=torch.float64), torch.randint(0, 4, (2, 5, 5))
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.1)
    assert float(cross_entropy_sum(logits, labels, torch.ones(2, 5, 5), 0.1)) == pytest.approx(float(expected))


def test_focal_of_two_pixels_by_hand():
    alpha = torch.tensor([3.0, 1.0, 1.0], dtype=torch.float64)
    expected = -3 * 0.5**2 * math.log(0.5) * 2 - 0.2**2 * math.log(0.8) * 0.5
    assert float(focal_sum(TWO_PIXELS, LABELS, torch.tensor([[[2.0, 0.5]]]), alpha, 2)) == pytest.approx(expected)


def test_focal_without_focus_is_cross_entropy():
    torch.manual_seed(1)
    logits, labels, importance = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5)), torch.rand(2, 5, 5)
    focal = focal_sum(logits, labels, importance, torch.ones(3), 0)
    assert float(focal) == pytest.approx(float(cross_entropy_sum(logits, labels, importance)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_of_a_certain_pixel_has_a_finite_gradient(gamma):
    # p = 1 to the last digit: the slope of (1 - p)^0.5 is infinite there.
    logits = torch.tensor([[[[60.0]], [[-60.0]]]], requires_grad=True)
    focal_sum(logits, torch.zeros(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1), torch.ones(2), gamma).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() < 1e-6
