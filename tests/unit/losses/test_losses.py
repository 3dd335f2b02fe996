"""Losses against values worked out by hand, their gradients, and that ignored pixels have no say."""

import math

import numpy as np
import pytest
import torch

from pipeline.losses.class_weights import class_weights
from pipeline.losses.cross_entropy import cross_entropy_sum, pixel_importance
from pipeline.losses.dice import dice_sum
from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.params.loss import LossWeights

ONES = torch.ones(3)


def _logits(probs):
    return torch.log(torch.tensor(probs, dtype=torch.float64)).permute(2, 0, 1).unsqueeze(0)


def test_cross_entropy_of_two_pixels_by_hand():
    logits = _logits([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]])
    labels = torch.tensor([[[0, 1]]])
    importance = pixel_importance(labels, torch.tensor([[[1.0, 0.5]]]), torch.tensor([2.0, 1.0, 1.0]))
    assert importance.tolist() == [[[2.0, 0.5]]]
    expected = -2 * math.log(0.5) - 0.5 * math.log(0.8)
    assert float(cross_entropy_sum(logits, labels, importance)) == pytest.approx(expected)


def test_dice_of_one_sample_by_hand():
    # Class 0: p = (1, 0), y = (1, 0) -> (2 + 1) / (2 + 1) = 1. Class 1: p = (0, 1), y = (0, 1) -> 1. Loss 0.
    perfect = torch.tensor([[[[30.0, -30.0]], [[-30.0, 30.0]]]])
    labels = torch.tensor([[[0, 1]]])
    assert float(dice_sum(perfect, labels, torch.ones(1, 1, 2))) == pytest.approx(0, abs=1e-6)
    # Uniform over 2 classes: each class (2 * 0.5 + 1) / (1 + 1 + 1) = 2/3, so the loss is 1/3.
    assert float(dice_sum(torch.zeros(1, 2, 1, 2), labels, torch.ones(1, 1, 2))) == pytest.approx(1 / 3)


def test_dice_of_a_sample_without_labels_is_zero():
    assert float(dice_sum(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255), torch.ones(1, 2, 2))) == 0


@pytest.mark.parametrize("term", ["cross_entropy", "dice"])
def test_ignored_and_weightless_pixels_have_no_gradient(term):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 4))
    labels[:, 0] = 255
    weight = torch.ones(2, 4, 4)
    weight[:, 1] = 0
    loss = TotalLoss(LossWeights(**{"cross_entropy": 0, "dice": 0, term: 1}), ONES)
    loss(logits, labels, weight, StepTotals(loss.importance(labels, weight), 2)).backward()
    assert logits.grad[:, :, :2].abs().max() == 0
    assert logits.grad[:, :, 2:].abs().min() > 0


def test_gradients_agree_with_differences():
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 3))
    labels[0, 0, 0] = 255
    weight = torch.rand(2, 3, 3, dtype=torch.float64)
    importance = pixel_importance(labels, weight, ONES.double())
    # The losses work in float32 inside, hence the coarse tolerance and step.
    for function in (lambda x: cross_entropy_sum(x, labels, importance), lambda x: dice_sum(x, labels, weight)):
        assert torch.autograd.gradcheck(function, logits, eps=1e-2, atol=5e-3, rtol=5e-2)


def test_parts_of_a_step_add_up_to_the_step():
    torch.manual_seed(2)
    logits, labels, weight = torch.randn(4, 3, 5, 5), torch.randint(0, 3, (4, 5, 5)), torch.rand(4, 5, 5)
    loss = TotalLoss(LossWeights(cross_entropy=0.7, dice=0.4), torch.tensor([1.0, 3.0, 0.5]))
    totals = StepTotals(loss.importance(labels, weight), 4)
    whole = loss(logits, labels, weight, totals)
    parts = sum(loss(logits[i:i + 2], labels[i:i + 2], weight[i:i + 2], totals) for i in (0, 2))
    assert float(parts) == pytest.approx(float(whole), rel=1e-5)


def test_a_step_without_labels_is_zero_and_differentiable():
    loss = TotalLoss(LossWeights(cross_entropy=1, dice=0), ONES)
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = loss(logits, torch.full((1, 2, 2), 255), torch.ones(1, 2, 2), StepTotals(0.0, 1))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


def test_class_weights_have_mean_one_over_pixels():
    counts = np.array([900, 100, 0])
    assert class_weights(counts, "none").tolist() == [1.0, 1.0, 0.0]
    inverse = class_weights(counts, "inverse")
    assert inverse[1] / inverse[0] == pytest.approx(9)
    assert class_weights(counts, "inverse_sqrt")[1] / class_weights(counts, "inverse_sqrt")[0] == pytest.approx(3)
    for kind in ("none", "inverse", "inverse_sqrt"):
        assert (class_weights(counts, kind) * counts).sum() / counts.sum() == pytest.approx(1)
