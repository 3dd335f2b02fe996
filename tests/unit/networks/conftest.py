"""Specs of small networks."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams

Spec = Callable[..., ModelSpec]


@pytest.fixture
def spec_of() -> Spec:
    """Makes the spec of a network of `channels` bands and three classes; the rest are NetworkParams."""

    def make(channels: int = 4, patch_size_px: int = 32, **network: Any) -> ModelSpec:
        params = NetworkParams.model_validate({"encoder_depth": 3, "decoder_channels": (32, 16, 16)} | network)
        return ModelSpec(network=params, bands=tuple("abcdefgh"[:channels]), classes=("x", "y", "z"),
                         colors=("#000000",) * 3, background="x", reflectance_scale=10000, mean=(1000,) * channels,
                         std=(100,) * channels, low=(1,) * channels, high=(9000,) * channels,
                         patch_size_px=patch_size_px, size_multiple=2**params.encoder_depth, pixel_size_m=10,
                         split="0" * 64)

    return make
