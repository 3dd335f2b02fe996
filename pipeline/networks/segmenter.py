"""Build the network of a ModelSpec: normalization, body and head in one module, so that all three leave together.

Shape legend: N images, C bands, K classes, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.networks import stages
from pipeline.networks.architecture import BoundaryHead, build_body, decoded_channels
from pipeline.networks.attention import BlockAttention
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


class Outputs(NamedTuple):
    """What a network says of images while it learns."""

    logits_NKHW: Tensor
    #: Logits of "a class boundary runs here"; None without a boundary head.
    boundary_N1HW: Tensor | None


class Segmenter(nn.Module):
    """Channels of the spec's recipe in, logits out; `decode` turns logits into probabilities."""

    logit_bias: Tensor
    #: Has `encoder`, `decoder` and `segmentation_head`.
    body: Any

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalizer = Normalizer(spec.mean, spec.std)
        # Of the spec, so not among the weights.
        self.register_buffer("logit_bias", torch.tensor(spec.logit_bias).view(1, -1, 1, 1), persistent=False)
        self.body = build_body(spec.network, channels=len(spec.channels), classes=len(spec.classes))
        self.attention = _attention(spec.network, self.body)
        self.boundary = BoundaryHead(decoded_channels(self.body)) if spec.network.boundary_head else None
        #: Submodules without a part in the logits, which were left out.
        self.dropped: tuple[str, ...] = ()
        self._layers: list[tuple[str, list[str]]] = []

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Logits NKHW for float32 channels NCHW, NaN = invalid; H and W are multiples of spec.size_multiple."""
        logits_NKHW: Tensor = self.body.segmentation_head(self._decoded(self._encoded(image_NCHW)))
        return logits_NKHW

    def outputs(self, image_NCHW: Tensor) -> Outputs:
        """All that training learns from; the logits are those of `forward`."""
        decoded = self._decoded(self._encoded(image_NCHW))
        logits_NKHW: Tensor = self.body.segmentation_head(decoded)
        return Outputs(logits_NKHW, None if self.boundary is None else self.boundary(decoded, logits_NKHW))

    def _encoded(self, image_NCHW: Tensor) -> Any:
        """The encoder's features, or features and class tokens (those of vision transformers)."""
        return self.body.encoder(self.normalizer(image_NCHW))

    def _decoded(self, encoded: Any) -> Tensor:
        features = _features(encoded)
        if features is not encoded:
            joined: Tensor = self.body.decoder(*encoded)
            return joined
        if self.attention is not None:
            features = [*features[:-1], self.attention(features[-1])]
        decoded: Tensor = self.body.decoder(features)
        return decoded

    def adjusted(self, logits_NKHW: Tensor) -> Tensor:
        """float32 (logits + bias) / T, by the spec's bias and temperature."""
        logits = logits_NKHW.float()
        if self.spec.logit_bias:
            logits = logits + self.logit_bias
        if self.spec.temperature != 1:
            logits = logits / self.spec.temperature
        return logits

    def decode(self, logits_NKHW: Tensor) -> Tensor:
        """Class probabilities NKHW: softmax of the adjusted logits, since the task's classes exclude each other.

        Classes are decided by these, never by raw logits.
        """
        return torch.softmax(self.adjusted(logits_NKHW), dim=1)

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Every parameter exactly once, from input to output: `encoder.<i>` (finest first), `decoder`, `head`.

        Stage i of an encoder is what its i-th feature (2^i times coarser than the image) depends on and no finer one.
        Attention on the deepest feature counts as the decoder's, the boundary head as the head's.
        """
        known = dict(self.named_parameters())
        return [(layer, [known[name] for name in names]) for layer, names in self._layers]

    def survey(self, size_px: int) -> None:
        """Check the size of what comes out, drop submodules that nothing depends on, and note the layers.

        An unused parameter that cannot be taken out is frozen. Called by `build`, with gradients recorded.

        Raises:
            ModelError: the logits are not of the input's size.
        """
        image = torch.linspace(-1, 1, size_px * size_px).view(1, 1, size_px, size_px)
        image = image.repeat(1, len(self.spec.channels), 1, 1)
        encoded = self.body.encoder(image)
        logits = self.body.segmentation_head(self._decoded(encoded))
        _check_size(self.spec, logits, size_px)
        names = stages.unused(self.body, logits)
        self.dropped = tuple(f"body.{name}" for name in stages.drop(self.body, names, lambda: self(image)))
        used = stages.reached(logits)
        for parameter in self.body.parameters():
            parameter.requires_grad_(id(parameter) in used)
        by_stage = stages.encoder_stages(self.body.encoder, _features(encoded)[1:])
        self._layers = [(f"encoder.{i}", [f"body.encoder.{name}" for name in names])
                        for i, names in enumerate(by_stage, start=1) if names]
        rest = [name for name, _ in self.named_parameters() if not name.startswith("body.encoder.")]
        heads = ("body.segmentation_head.", "boundary.")
        self._layers += [("decoder", [name for name in rest if not name.startswith(heads)]),
                         ("head", [name for name in rest if name.startswith(heads)])]


def _features(encoded: Any) -> Sequence[Tensor]:
    """The features; vision transformers give class tokens beside them."""
    features: Sequence[Tensor] = encoded if isinstance(encoded[0], Tensor) else encoded[0]
    return features


def _attention(network: NetworkParams, body: Any) -> BlockAttention | None:
    if network.bottleneck_attention == "none":
        return None
    return BlockAttention(int(body.encoder.out_channels[-1]))


def build(spec: ModelSpec) -> Segmenter:
    """The untrained network of a spec, its weights drawn from torch's global generator; nothing is ever fetched.

    Raises:
        ModelError: segmentation_models_pytorch cannot build it, or it does not give logits of its input's size.
    """
    # A caller may be in inference; which stages are used is read off a pass that records gradients.
    with torch.inference_mode(False), torch.enable_grad():
        segmenter = Segmenter(spec).eval()
        # A small image will do, but for architectures that pool by more, or take one size only.
        small = max(64, 2 * spec.size_multiple)
        for size_px in sorted({small, max(small, spec.patch_size_px)}):
            try:
                segmenter.survey(size_px)
                break
            except (AssertionError, IndexError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:300]
        else:
            raise ModelError(f"train.network must run on {size_px} px images: {spec.network.architecture} with "
                             f"encoder {spec.network.encoder}: {reason}")
    # Channels last suits depthwise convolutions on CPUs and tensor cores on GPUs.
    return segmenter.train().to(memory_format=torch.channels_last)


def _check_size(spec: ModelSpec, logits_NKHW: Tensor, size_px: int) -> None:
    """Some architectures upsample by a fixed factor and give logits of another size than their input."""
    shape = tuple(logits_NKHW.shape)
    if shape != (1, len(spec.classes), size_px, size_px):
        raise ModelError(f"train.network must give logits of its input's size: {spec.network.architecture} with "
                         f"encoder_depth {spec.network.encoder_depth} gives {shape} for {size_px} px; "
                         "use another encoder_depth or architecture")
