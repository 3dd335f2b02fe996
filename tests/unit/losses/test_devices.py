"""The sum over devices passes gradients; tests/unit/training/test_ranks.py has it between real processes."""

import pytest
import torch

from pipeline.losses import devices
from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.params.loss import LossParams


@pytest.fixture(autouse=True)
def two_equal_devices(monkeypatch):
    monkeypatch.setattr(devices.distributed, "all_reduce", lambda tensor: tensor.mul_(2))


def test_value_and_slope_are_summed_and_the_own_tensor_stays():
    own = torch.tensor([1.0, 2.0], requires_grad=True)
    total = devices.sum_over_devices(own)
    (total * torch.tensor([3.0, 5.0])).sum().backward()
    assert total.tolist() == [2, 4]
    assert own.grad.tolist() == [6, 10]
    assert own.tolist() == [1, 2]


def test_two_devices_with_equal_samples_have_one_sample_s_loss_and_half_its_slope_each():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    labels, weight = torch.randint(0, 3, (1, 6, 6)), torch.rand(1, 6, 6, dtype=torch.float64)
    params = LossParams(weights={"cross_entropy": 0, "dice": 0, "mcc": 1})
    alone = TotalLoss(params, torch.ones(3))(logits, labels, weight, StepTotals(1.0, 1))
    share = TotalLoss(params, torch.ones(3), devices.sum_over_devices)(logits, labels, weight, StepTotals(1.0, 2))
    assert share.item() == pytest.approx(alone.item() / 2)
    slope, expected = (torch.autograd.grad(value, logits)[0] for value in (share, alone))
    assert torch.allclose(slope, expected / 2)
