"""Build the network of a ModelSpec: normalization, body and head in one module, so that all three leave together.

Shape legend: N images, C bands, K classes, H rows, W columns.
"""

import inspect

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams


class Normalizer(nn.Module):
    """(x - mean) / std per channel; what is invalid or undefined (NaN) becomes 0, the mean of the train pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Normalized image, same shape, no NaN."""
        scaled = (image_NCHW - self.mean) / self.std
        return torch.where(torch.isnan(scaled), torch.zeros_like(scaled), scaled)


class Segmenter(nn.Module):
    """Channels of the spec's recipe in, logits out; `decode` turns logits into probabilities."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalizer = Normalizer(spec.mean, spec.std)
        self.body = _body(spec.network, channels=len(spec.channels), classes=len(spec.classes))

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Logits NKHW for float32 channels NCHW, NaN = invalid; H and W are multiples of spec.size_multiple."""
        logits_NKHW: Tensor = self.body(self.normalizer(image_NCHW))
        return logits_NKHW

    def decode(self, logits_NKHW: Tensor) -> Tensor:
        """Class probabilities NKHW: softmax, since the task's classes exclude each other."""
        return torch.softmax(logits_NKHW.float(), dim=1)


def _body(network: NetworkParams, channels: int, classes: int) -> nn.Module:
    options: dict[str, object] = {"encoder_depth": network.encoder_depth}
    architecture = smp.MODEL_ARCHITECTURES_MAPPING.get(network.architecture.lower())
    if network.decoder_channels and architecture:
        if "decoder_channels" not in inspect.signature(architecture.__init__).parameters:
            raise ModelError(f"train.network.decoder_channels must be [] for {network.architecture}, which has no such "
                             f"setting: got {list(network.decoder_channels)}")
        options["decoder_channels"] = network.decoder_channels
    try:
        body: nn.Module = smp.create_model(network.architecture, encoder_name=network.encoder, encoder_weights=None,
                                           in_channels=channels, classes=classes, **options)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError("train.network must be one that segmentation_models_pytorch can build: "
                         f"{network.architecture} with encoder {network.encoder}, depth {network.encoder_depth}: "
                         f"{reason}") from error
    return body


def build(spec: ModelSpec) -> Segmenter:
    """The untrained network of a spec, its weights drawn from torch's global generator.

    Raises:
        ModelError: segmentation_models_pytorch cannot build it.
    """
    segmenter = Segmenter(spec)
    _check_output(segmenter, spec)
    # Channels last suits depthwise convolutions on CPUs and tensor cores on GPUs.
    return segmenter.to(memory_format=torch.channels_last)


def _check_output(segmenter: Segmenter, spec: ModelSpec) -> None:
    """Some architectures upsample by a fixed factor and give logits of another size than their input."""
    size = max(64, 2 * spec.size_multiple)
    segmenter.eval()
    try:
        with torch.no_grad():
            shape = tuple(segmenter(torch.zeros(1, len(spec.channels), size, size)).shape)
    except RuntimeError as error:
        raise ModelError(f"train.network must run on {size} px images: {' '.join(str(error).split())[:300]}") from error
    if shape != (1, len(spec.classes), size, size):
        raise ModelError(f"train.network must give logits of its input's size: {spec.network.architecture} with "
                         f"encoder_depth {spec.network.encoder_depth} gives {shape} for {size} px; "
                         "use another encoder_depth or architecture")
    segmenter.train()
