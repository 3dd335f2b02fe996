"""Rates and decay by layer worked out by hand, and which layers learn when."""

import pytest
import torch
from torch import nn

from pipeline.params.optimizer import OptimizerParams
from pipeline.training.optimizer import Freezing, build_optimizer, layer_factors, set_rates


class Layered(nn.Module):
    """Two encoder stages, of which the deeper one ends in batch norm, a decoder and a head."""

    def __init__(self):
        super().__init__()
        self.fine, self.deep = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.decoder, self.last = nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x):
        return self.last(self.decoder(self.deep(self.fine(x))))

    def layers(self):
        named = (("encoder.1", self.fine), ("encoder.2", self.deep), ("decoder", self.decoder), ("head", self.last))
        return [(name, list(part.parameters())) for name, part in named]


def rates(network, optimizer):
    """Each parameter's rate and decay, by name."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups
            for p in group["params"]}


def test_by_default_there_is_one_group_in_the_networks_order():
    network = Layered()
    optimizer = build_optimizer(network, OptimizerParams())
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert (group["lr"], group["weight_decay"], group["betas"], group["factor"]) == (1e-3, 1e-2, (0.9, 0.999), 1)
    assert isinstance(optimizer, torch.optim.AdamW)


def test_rates_fall_from_the_head_to_the_input():
    params = OptimizerParams(layer_decay=0.5, encoder_lr_factor=0.1)
    assert layer_factors(["encoder.1", "encoder.2", "decoder", "head"], params) == pytest.approx(
        {"head": 1, "decoder": 0.5, "encoder.2": 0.025, "encoder.1": 0.0125})
    network = Layered()
    optimizer = build_optimizer(network, params)
    set_rates(optimizer, 2.0, 0.9)
    found = {name: rate for name, (rate, _) in rates(network, optimizer).items()}
    assert found == pytest.approx({
        "fine.weight": 0.025, "fine.bias": 0.025, "deep.0.weight": 0.05, "deep.0.bias": 0.05, "deep.1.weight": 0.05,
        "deep.1.bias": 0.05, "decoder.weight": 1, "decoder.bias": 1, "last.weight": 2, "last.bias": 2})


def test_norms_and_biases_can_be_spared_the_decay():
    network = Layered()
    found = rates(network, build_optimizer(network, OptimizerParams(decay_norms_and_biases=False, weight_decay=0.3)))
    assert {name for name, (_, decay) in found.items() if decay == 0.3} == {
        "fine.weight", "deep.0.weight", "decoder.weight", "last.weight"}
    assert {decay for _, decay in found.values()} == {0.0, 0.3}


def test_sgd_steps_by_hand():
    # w = 1, gradient 1, rate 0.5, momentum 0.5, Nesterov: v = 1, step 1 + 0.5; then v = 1.5, step 1 + 0.75.
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = build_optimizer(network, OptimizerParams(name="sgd", nesterov=True, weight_decay=0))
    set_rates(optimizer, 0.5, 0.5)
    for expected in (0.25, -0.625):
        network.weight.grad = torch.ones(1, 1)
        optimizer.step()
        assert network.weight.item() == pytest.approx(expected)


def test_momentum_reaches_adamw_as_its_first_beta():
    optimizer = build_optimizer(Layered(), OptimizerParams())
    set_rates(optimizer, 1e-3, 0.85)
    assert optimizer.param_groups[0]["betas"] == (0.85, 0.999)


def learning(network):
    return {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}


def test_the_encoder_thaws_from_its_deepest_stage():
    network = Layered()
    freezing = Freezing(network, OptimizerParams(frozen_epochs=2, unfreeze_every_epochs=3), epochs=9)
    for epoch, expected in ((0, set()), (1, set()), (2, {"deep"}), (4, {"deep"}), (5, {"deep", "fine"})):
        network.train()
        freezing.begin(epoch)
        assert learning(network) == expected | {"decoder", "last"}
        assert network.deep[1].training is ("deep" in expected)


def test_without_an_interval_all_thaws_at_once():
    network = Layered()
    freezing = Freezing(network, OptimizerParams(frozen_epochs=1), epochs=2)
    freezing.begin(0)
    assert learning(network) == {"decoder", "last"}
    freezing.begin(1)
    assert learning(network) == {"fine", "deep", "decoder", "last"}


def test_frozen_parts_keep_weights_and_batch_statistics():
    network = Layered()
    Freezing(network, OptimizerParams(frozen_epochs=1), epochs=2).begin(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = build_optimizer(network, OptimizerParams(lr=0.1))
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(4, 2)).sum().backward()
        optimizer.step()
    after = network.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"decoder", "last"}


def test_what_the_network_itself_froze_stays_frozen():
    network = Layered()
    network.fine.bias.requires_grad_(False)
    Freezing(network, OptimizerParams(frozen_epochs=1), epochs=2).begin(1)
    assert not network.fine.bias.requires_grad
    assert network.fine.weight.requires_grad


def test_a_stage_that_never_thaws_is_named():
    with pytest.warns(UserWarning, match=r"in 5 epochs encoder.1 stay as they started"):
        Freezing(Layered(), OptimizerParams(frozen_epochs=2, unfreeze_every_epochs=3), epochs=5)
