"""The boundary loss and the boundary head's, against values worked out by hand."""

import math

import pytest
import torch

from pipeline.losses.boundary import boundary_head_sum, boundary_sum, nearness

ROW = torch.tensor([[[0, 0, 0, 1, 1]]])
ONES = torch.ones(1, 1, 5)


def test_nearness_falls_with_the_distance_and_ends():
    # Touching: the third and the fourth pixel.
    near = nearness(ROW, ONES, 0.5)
    assert near[0, 0].tolist() == pytest.approx([0, math.exp(-2), 1, 1, math.exp(-2)])


def test_loss_by_hand():
    p = torch.tensor([0.9, 0.8, 0.5, 0.4, 0.75], dtype=torch.float64)  # of class 0
    logits = torch.log(torch.stack([p, 1 - p])).reshape(1, 2, 1, 5)
    weight = torch.tensor([[[1.0, 1.0, 1.0, 0.5, 2.0]]])
    far = math.exp(-0.5)
    terms = [0, far * -math.log(0.8), -math.log(0.5), 0.5 * -math.log(0.6), 2 * far * -math.log(0.25)]
    terms[0] = math.exp(-2) * -math.log(0.9)
    expected = sum(terms) / (math.exp(-2) + far + 1 + 0.5 + 2 * far)
    assert float(boundary_sum(logits, ROW, weight, 1.0)) == pytest.approx(expected)
    assert float(boundary_sum(logits, ROW, weight, 1.0, (1, 0), 4)) == pytest.approx(4 * expected)


def test_only_the_chosen_interface_weighs_more():
    # 0 meets 1, and far from there 1 meets 2.
    labels = torch.tensor([[[0, 0, 1, 1, 1, 1, 1, 1, 2, 2]]])
    weight = torch.ones(1, 1, 10)
    logits = torch.zeros(1, 3, 1, 10, requires_grad=True)
    plain, = torch.autograd.grad(boundary_sum(logits, labels, weight, 0.5), logits)
    chosen, = torch.autograd.grad(boundary_sum(logits, labels, weight, 0.5, (2, 1), 3), logits)
    assert torch.equal(chosen[..., :5], plain[..., :5])
    assert torch.allclose(chosen[..., 6:], 3 * plain[..., 6:])
    assert plain[..., 6:].abs().max() > 0


def test_ignored_pixels_make_no_boundary():
    labels = torch.tensor([[[0, 0, 255, 1, 1]]])
    assert float(boundary_sum(torch.randn(1, 2, 1, 5), labels, ONES, 3.0)) == 0


def test_a_sample_without_boundaries_adds_nothing():
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 1, 5)
    labels = torch.cat([ROW, torch.zeros_like(ROW)])
    both = boundary_sum(logits, labels, torch.ones(2, 1, 5), 1.0)
    assert float(both) == pytest.approx(float(boundary_sum(logits[:1], ROW, ONES, 1.0)))


def test_boundary_head_by_hand():
    p = torch.tensor([0.1, 0.2, 0.5, 0.9, 0.3], dtype=torch.float64)
    logits = torch.log(p / (1 - p)).reshape(1, 1, 1, 5)
    weight = torch.tensor([[[1.0, 2.0, 1.0, 1.0, 1.0]]])
    on = (-math.log(0.5) - math.log(0.9)) / 2
    off = (-math.log(0.9) - 2 * math.log(0.8) - math.log(0.7)) / 4
    assert float(boundary_head_sum(logits, ROW, weight, 1)) == pytest.approx((on + off) / 2)
    # Two pixels wide: only the first is off.
    wide = (-2 * math.log(0.2) - math.log(0.5) - math.log(0.9) - math.log(0.3)) / 5
    assert float(boundary_head_sum(logits, ROW, weight, 2)) == pytest.approx((wide - math.log(0.9)) / 2)


def test_boundary_head_of_ignored_pixels_has_no_gradient():
    torch.manual_seed(1)
    logits = torch.randn(1, 1, 4, 5, requires_grad=True)
    labels = torch.cat([ROW, ROW, torch.full_like(ROW, 255), ROW], dim=1)
    weight = torch.ones(1, 4, 5)
    weight[0, 0] = 0
    boundary_head_sum(logits, labels, weight, 1).backward()
    assert logits.grad[0, 0, [0, 2]].abs().max() == 0
    assert logits.grad[0, 0, [1, 3]].abs().min() > 0
    nothing = boundary_head_sum(logits, torch.full_like(labels, 255), weight, 1)
    assert nothing.item() == 0
    assert nothing.requires_grad
