"""The moving average of weights, by hand."""

import pytest
import torch
from torch import nn

from pipeline.training.averages import Averages


def network(value):
    made = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    with torch.no_grad():
        made[0].weight.fill_(value)
        made[1].running_mean.fill_(10 * value)
        made[1].num_batches_tracked.fill_(int(value))
    return made


def values(averages):
    own = averages.segmenter.state_dict()
    return own["0.weight"].item(), own["1.running_mean"].item(), own["1.num_batches_tracked"].item()


def test_the_memory_grows_to_the_decay():
    averages = Averages(network(0.0), 0.2)
    averages.update(network(1.0))
    # d = 1 / 10, then 2 / 11, then the decay itself, as 3 / 12 exceeds it.
    expected = 0.9
    assert values(averages) == pytest.approx((expected, 9.0, 1))
    averages.update(network(2.0))
    expected = expected * 2 / 11 + 2 * 9 / 11
    assert values(averages) == pytest.approx((expected, 10 * expected, 2))
    averages.update(network(2.0))
    assert values(averages)[0] == pytest.approx(0.2 * expected + 0.8 * 2)


def test_it_is_apart_from_the_network_and_always_in_evaluation():
    trained = network(1.0)
    averages = Averages(trained, 0.9)
    trained[0].weight.data.fill_(5.0)
    assert values(averages)[0] == 1.0
    assert not averages.segmenter.training
    assert not any(p.requires_grad for p in averages.segmenter.parameters())


def test_a_restored_average_goes_on_as_if_it_had_never_stopped():
    one = Averages(network(0.0), 0.9)
    one.update(network(1.0))
    other = Averages(network(7.0), 0.9)
    other.restore(one.state())
    for averages in (one, other):
        averages.update(network(3.0))
    assert values(one) == values(other)
