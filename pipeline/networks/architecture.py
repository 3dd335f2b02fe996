"""The body of a network: encoder, decoder and class head, from the library or the plain CNN, and its boundary head.

Shape legend: N images, C channels, K classes, H rows, W columns.
"""

import inspect
import warnings
from typing import Any

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.networks.attention import only_channels
from pipeline.networks.plain_cnn import PlainCNN
from pipeline.params.network import NetworkParams


class BoundaryHead(nn.Module):
    """Logits of "a class boundary runs here", from the feature that the class head sees too.

    A second task on shared features, as in Chen et al. 2016 (DCAN) and Heidler et al. 2021 (HED-UNet). It does not
    feed the class head, as the cascades of Bischke et al. 2019 and Diakogiannis et al. 2020 do: they gain
    little from it, and so the class logits stay a function that inference and export compute without this head.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.out = nn.Conv2d(channels, 1, 1)
        smp.base.initialization.initialize_decoder(self.convolution)
        smp.base.initialization.initialize_head(self.out)

    def forward(self, decoded_NCHW: Tensor, like_NKHW: Tensor) -> Tensor:
        """Boundary logits N1HW of the class logits' size."""
        logits: Tensor = self.out(nn.functional.relu(self.norm(self.convolution(decoded_NCHW))))
        if logits.shape[-2:] != like_NKHW.shape[-2:]:
            logits = nn.functional.interpolate(logits, size=like_NKHW.shape[-2:], mode="bilinear", align_corners=True)
        return logits


def build_body(network: NetworkParams, channels: int, classes: int) -> Any:
    """A module with `encoder`, `decoder` and `segmentation_head`, its weights drawn from torch's global generator.

    Raises:
        ModelError: the library cannot build it, or has no place for what is asked.
    """
    try:
        return create(network, channels, classes)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError("train.network must be one that segmentation_models_pytorch can build: "
                         f"{network.architecture} with encoder {network.encoder}, depth {network.encoder_depth}: "
                         f"{' '.join(str(error).split())[:300]}") from error


def create(network: NetworkParams, channels: int, classes: int, weights: str | bool | None = None,
           **encoder_options: Any) -> Any:
    """`build_body`, with the library's own errors; `weights` and further options go to its encoder as they are."""
    if network.is_plain:
        return PlainCNN(channels, classes, network.encoder_depth, network.decoder_channels)
    options = _options(network) | encoder_options
    with warnings.catch_warnings():
        # The names with `timm-` are deprecated in the library; the lock pins a release that has them.
        warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated")
        # True is what the library wants for timm's encoders, and says so of anything else.
        body: Any = smp.create_model(network.architecture, encoder_name=network.encoder, encoder_weights=weights,
                                     in_channels=channels, classes=classes, **options)
    if network.decoder_attention == "cse":
        only_channels(body.decoder)
    return body


def _options(network: NetworkParams) -> dict[str, Any]:
    """What the library takes beyond encoder, channels and classes."""
    options: dict[str, Any] = {"encoder_depth": network.encoder_depth}
    architecture = smp.MODEL_ARCHITECTURES_MAPPING.get(network.architecture.lower())
    taken = inspect.signature(architecture.__init__).parameters if architecture else {}
    usual = getattr(taken.get("decoder_channels"), "default", None)
    if isinstance(usual, tuple | list):
        # The library's own are for five stages.
        options["decoder_channels"] = network.decoder_channels or tuple(usual)[-network.encoder_depth:]
    elif network.decoder_channels and architecture:
        raise ModelError(f"train.network.decoder_channels must be [] for {network.architecture}, which has no such "
                         f"setting: got {list(network.decoder_channels)}")
    if network.decoder_attention != "none" and architecture:
        if "decoder_attention_type" not in taken:
            raise ModelError(f"train.network.decoder_attention must be none for {network.architecture}, whose decoder "
                             f"has no place for it: got {network.decoder_attention}; use Unet or UnetPlusPlus")
        options["decoder_attention_type"] = "scse"
    return options


def decoded_channels(body: Any) -> int:
    """Channels of the feature between decoder and class head."""
    return next(m.in_channels for m in body.segmentation_head.modules() if isinstance(m, nn.Conv2d))
