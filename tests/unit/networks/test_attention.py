"""Attention modules compute their papers' equations."""

import math

import pytest
import segmentation_models_pytorch as smp
import torch

from pipeline.networks.attention import BlockAttention, ChannelSqueeze, only_channels
from pipeline.networks.segmenter import build


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_channel_squeeze_by_hand() -> None:
    module = ChannelSqueeze(2)
    with torch.no_grad():
        module.squeeze.weight.copy_(torch.tensor([1.0, 0.5]).view(1, 2, 1, 1))
        module.squeeze.bias.fill_(-1.0)
        module.excite.weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
        module.excite.bias.copy_(torch.tensor([0.0, 1.0]))
        feature = torch.tensor([[1.0, 3.0], [2.0, 6.0]]).view(1, 2, 1, 2)
        found = module(feature)
    # Means 2 and 4; squeezed: 2 + 2 - 1 = 3; excited: 3 and -5.
    expected = torch.tensor([[1.0, 3.0], [2.0, 6.0]]) * torch.tensor([[sigmoid(3)], [sigmoid(-5)]])
    assert torch.allclose(found.view(2, 2), expected)


def test_channel_squeeze_never_gates_by_a_relu_of_nothing() -> None:
    assert ChannelSqueeze(64).squeeze.out_channels == 4
    assert ChannelSqueeze(8).squeeze.out_channels == 1


def test_block_attention_by_hand() -> None:
    module = BlockAttention(1)
    with torch.no_grad():
        module.perceptron[0].weight.fill_(1.0)
        module.perceptron[2].weight.fill_(0.5)
        module.spatial.weight.zero_()
        # Centre of the kernel: the mean over channels once, the maximum twice.
        module.spatial.weight[0, :, 3, 3] = torch.tensor([1.0, 2.0])
        found = module(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2))
    # Mean 2, maximum 3; shared perceptron: 0.5 x 2 + 0.5 x 3.
    weighed = [1 * sigmoid(2.5), 3 * sigmoid(2.5)]
    assert found.flatten().tolist() == pytest.approx([v * sigmoid(3 * v) for v in weighed], rel=1e-6)


def test_block_attention_looks_around_a_pixel_and_across_channels() -> None:
    torch.manual_seed(0)
    module = BlockAttention(32)
    feature = torch.rand(1, 32, 9, 9, requires_grad=True)
    assert [tuple(p.shape) for p in module.parameters()] == [(2, 32, 1, 1), (32, 2, 1, 1), (1, 2, 7, 7)]
    module(feature)[0, 5, 4, 4].backward()
    assert feature.grad is not None
    assert feature.grad[0, 7, 1, 1] != 0


def test_cse_takes_the_place_of_every_scse() -> None:
    body = smp.Unet("resnet18", encoder_depth=3, encoder_weights=None, decoder_channels=(32, 16, 16),
                    decoder_attention_type="scse")
    only_channels(body.decoder)
    kinds = {type(m).__name__ for m in body.decoder.modules()}
    assert "ChannelSqueeze" in kinds
    assert "SCSEModule" not in kinds
    block = body.decoder.blocks[0]
    assert block.attention2.attention.excite.out_channels == 32
    assert torch.count_nonzero(block.attention2.attention.excite.bias) == 0


@pytest.mark.parametrize("attention", ["cse", "scse"])
def test_decoder_attention_has_a_say_and_leaves_the_encoder_alone(spec_of, attention) -> None:
    def networks() -> list[object]:
        torch.manual_seed(0)
        plain = build(spec_of())
        torch.manual_seed(0)
        return [plain, build(spec_of(decoder_attention=attention))]

    plain, gated = networks()
    assert all(torch.equal(a, b) for a, b in zip(plain.body.encoder.parameters(), gated.body.encoder.parameters(),
                                                 strict=True))
    gates = [name for name, _ in gated.named_parameters() if ".attention" in name]
    assert gates
    # Its last block joins nothing, so it has no first gate.
    assert not [name for name in gates if "blocks.2.attention1" in name]
    assert set(gates) == {name for name, _ in gated.named_parameters()} - {name for name, _ in plain.named_parameters()}
