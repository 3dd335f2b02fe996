"""Dice and Tversky against values worked out by hand."""

import pytest
import torch

from pipeline.losses.dice import dice_sum
from pipeline.losses.tversky import tversky_sum

LABELS = torch.tensor([[[0, 1]]])
ONES = torch.ones(1, 1, 2)


def test_dice_of_one_sample_by_hand():
    # Class 0: p = (1, 0), y = (1, 0) -> (2 + 1) / (2 + 1) = 1. Class 1: p = (0, 1), y = (0, 1) -> 1. Loss 0.
    perfect = torch.tensor([[[[30.0, -30.0]], [[-30.0, 30.0]]]])
    assert float(dice_sum(perfect, LABELS, ONES)) == pytest.approx(0, abs=1e-6)
    # Uniform over 2 classes: each class (2 * 0.5 + 1) / (1 + 1 + 1) = 2/3, so the loss is 1/3.
    assert float(dice_sum(torch.zeros(1, 2, 1, 2), LABELS, ONES)) == pytest.approx(1 / 3)


def test_tversky_of_one_sample_by_hand():
    # p of class 0: 0.75 at the first pixel (label 0), 0.5 at the second (label 1), of weights 1 and 2.
    logits = torch.log(torch.tensor([[[[0.75, 0.5]], [[0.25, 0.5]]]]))
    weight = torch.tensor([[[1.0, 2.0]]])
    # Class 0: TP 0.75, FP 1, FN 0.25. Class 1: TP 1, FP 0.25, FN 1.
    index_0 = (0.75 + 0.5) / (0.75 + 0.2 * 1 + 0.8 * 0.25 + 0.5)
    index_1 = (1 + 0.5) / (1 + 0.2 * 0.25 + 0.8 * 1 + 0.5)
    assert float(tversky_sum(logits, LABELS, weight, 0.2, 0.8)) == pytest.approx(1 - (index_0 + index_1) / 2)


def test_tversky_of_equal_costs_is_dice():
    torch.manual_seed(0)
    logits, labels, weight = torch.randn(3, 4, 6, 6), torch.randint(0, 4, (3, 6, 6)), torch.rand(3, 6, 6)
    labels[0, :2] = 255
    expected = float(dice_sum(logits, labels, weight))
    assert float(tversky_sum(logits, labels, weight, 0.5, 0.5)) == pytest.approx(expected, rel=1e-6)


def test_beta_makes_misses_dearer():
    # The same prediction, once missing half of class 1 and once claiming as much that is class 0.
    half = torch.tensor([[[[-30.0, 0.0]], [[30.0, 0.0]]]])
    miss = tversky_sum(half, torch.tensor([[[1, 1]]]), ONES, 0.1, 0.9)
    claim = tversky_sum(torch.tensor([[[[-30.0, -30.0]], [[30.0, 30.0]]]]), torch.tensor([[[1, 255]]]), ONES, 0.1, 0.9)
    assert float(miss) > float(claim)


@pytest.mark.parametrize("loss", [dice_sum, lambda *a: tversky_sum(*a, 0.3, 0.7)], ids=["dice", "tversky"])
def test_a_sample_without_labels_is_zero(loss):
    assert float(loss(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255), torch.ones(1, 2, 2))) == 0
