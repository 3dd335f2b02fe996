"""The multi-class MCC loss: scores of hard predictions, soft ones by hand, degenerate ones, sums over devices."""

import math

import pytest
import torch
from sklearn.metrics import matthews_corrcoef

from pipeline.losses.mcc import mcc_sum


def same(own):
    return own


def hard(predicted_NHW, classes):
    return (torch.nn.functional.one_hot(predicted_NHW, classes) * 200.0).permute(0, 3, 1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_of_hard_predictions_is_one_minus_mcc(seed):
    torch.manual_seed(seed)
    labels = torch.randint(0, 4, (2, 6, 6))
    predicted = torch.where(torch.rand(2, 6, 6) < 0.6, labels, torch.randint(0, 4, (2, 6, 6)))
    labels[0, 0] = 255
    weight = torch.rand(2, 6, 6)
    known = labels != 255
    expected = matthews_corrcoef(labels[known], predicted[known], sample_weight=weight[known].double())
    value = mcc_sum(hard(predicted, 4), labels, weight, same)
    assert float(value) == pytest.approx(2 * (1 - expected), rel=1e-5)


def test_of_soft_predictions_by_hand():
    # Labels 1, 1, 0, 0; p of class 1: 0.8, 0.6, 0.5, 0.1. TP 1.4, FN 0.6, FP 0.6, TN 1.4.
    p = torch.tensor([0.8, 0.6, 0.5, 0.1])
    logits = torch.log(torch.stack([1 - p, p])).reshape(1, 2, 1, 4)
    mcc = (1.4 * 1.4 - 0.6 * 0.6) / math.sqrt(2 * 2 * 2 * 2)
    value = mcc_sum(logits, torch.tensor([[[1, 1, 0, 0]]]), torch.ones(1, 1, 4), same)
    assert float(value) == pytest.approx(1 - mcc)


def test_a_perfect_rare_class_is_zero_and_a_missed_one_is_one():
    labels = torch.zeros(1, 100, 100, dtype=torch.int64)
    labels[0, 0, 0] = 1
    weight = torch.ones(1, 100, 100)
    assert float(mcc_sum(hard(labels, 3), labels, weight, same)) == pytest.approx(0, abs=1e-6)
    assert float(mcc_sum(hard(torch.zeros_like(labels), 3), labels, weight, same)) == pytest.approx(1)


@pytest.mark.parametrize("value", [0, 2, 255])
def test_labels_of_one_class_or_none_are_zero_without_slope(value):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = mcc_sum(logits, torch.full((2, 4, 4), value), torch.ones(2, 4, 4), same)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("size", [0.0, 20.0, 100.0])
def test_predictions_of_one_class_have_a_finite_gradient(size):
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = size
    logits.requires_grad_()
    labels = torch.arange(16).reshape(1, 4, 4) % 3
    loss = mcc_sum(logits, labels, torch.ones(1, 4, 4), same)
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(logits.grad).all()
    # Where the prediction can still move, it moves to the labels.
    if size < 50:
        assert (logits.grad.gather(1, labels.unsqueeze(1)) < 0).sum() >= 10


def test_scale_of_the_weights_does_not_matter():
    torch.manual_seed(3)
    logits, labels, weight = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5)), torch.rand(2, 5, 5)
    assert float(mcc_sum(logits, labels, 100 * weight, same)) == pytest.approx(
        float(mcc_sum(logits, labels, weight, same)), rel=1e-5)


def test_two_devices_make_one():
    torch.manual_seed(4)
    logits = torch.randn(6, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    labels, weight = torch.randint(0, 3, (6, 5, 5)), torch.rand(6, 5, 5, dtype=torch.float64)
    whole = mcc_sum(logits, labels, weight, same) / 6
    expected, = torch.autograd.grad(whole, logits)

    parts = [slice(0, 4), slice(4, 6)]
    confusions = []
    for part in parts:
        mcc_sum(logits[part], labels[part], weight[part], lambda own: confusions.append(own) or own)
    # As a sum over devices gives each of them the same matrix, and hands its slope back to all.
    shares = [mcc_sum(logits[part], labels[part], weight[part], lambda own: confusions[0] + confusions[1]) / 6
              for part in parts]
    assert sum(shares).item() == pytest.approx(whole.item())
    assert torch.allclose(torch.autograd.grad(sum(shares), logits)[0], expected)
