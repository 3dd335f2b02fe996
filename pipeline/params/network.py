"""Part of section `train`: the network."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.params.base import Section

#: Least channels of a feature that squeeze-and-excitation of the library, which squeezes to a sixteenth, can take.
_SQUEEZED = 16


class NetworkParams(Section):
    """A segmentation_models_pytorch architecture and encoder (timm's too, as `tu-<name>`), or the plain CNN."""

    #: PlainCNN is a small baseline of convolutions only, without skip connections; it takes no encoder ("").
    architecture: str = "Unet"
    encoder: str = "resnet18"
    #: Encoder stages used; each halves the resolution.
    encoder_depth: int = Field(default=4, ge=3, le=5)
    #: Channels of the decoder, deepest first; only for architectures that take them ([] leaves the library's).
    decoder_channels: tuple[int, ...] = (128, 64, 32, 16)
    #: What the encoder starts from: "" random weights, `imagenet` the library's (fetched from the network when training
    #: starts, unless they are in its cache), else a file of the encoder's weights (.safetensors or .pt), its path
    #: relative to the repository (the real one under `dvc exp run --temp`).
    weights: str = ""
    #: sha256 the starting weights must have, so that they are part of the configuration; a file needs it, and without
    #: it the library's may be others tomorrow.
    weights_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    #: Squeeze-and-excitation in the decoder: over channels (cse), or over channels and pixels (scse).
    decoder_attention: Literal["none", "cse", "scse"] = "none"
    #: Channel and spatial attention (CBAM) on the deepest feature of the encoder.
    bottleneck_attention: Literal["none", "cbam"] = "none"
    #: A second head that learns class boundaries beside the classes; only training has a use for its output.
    boundary_head: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether this is the plain CNN, which is not of the library."""
        return self.architecture.lower() == "plaincnn"

    @model_validator(mode="after")
    def _channels_fit_depth(self) -> "NetworkParams":
        if self.decoder_channels and len(self.decoder_channels) != self.encoder_depth:
            raise ValueError(f"train.network.decoder_channels must have encoder_depth={self.encoder_depth} entries: "
                             f"got {list(self.decoder_channels)}")
        return self

    @model_validator(mode="after")
    def _plain_is_plain(self) -> "NetworkParams":
        if self.is_plain != (self.encoder == ""):
            raise ValueError("train.network.encoder must be \"\" for PlainCNN, and only there: "
                             f"got {self.encoder!r} for {self.architecture}")
        if self.is_plain and self.decoder_attention != "none":
            raise ValueError("train.network.decoder_attention must be none for PlainCNN, whose decoder joins no "
                             f"features: got {self.decoder_attention}")
        if self.is_plain and self.weights == "imagenet":
            raise ValueError("train.network.weights must be \"\" or a file for PlainCNN, which the library does not "
                             "know: got imagenet")
        return self

    @model_validator(mode="after")
    def _attention_has_its_place(self) -> "NetworkParams":
        if self.decoder_attention != "none" and min(self.decoder_channels, default=_SQUEEZED) < _SQUEEZED:
            raise ValueError(f"train.network.decoder_channels must be {_SQUEEZED} or more with decoder_attention "
                             f"{self.decoder_attention}, which squeezes them to a sixteenth: "
                             f"got {list(self.decoder_channels)}")
        if self.bottleneck_attention != "none" and self.architecture.lower() == "dpt":
            raise ValueError("train.network.bottleneck_attention must be none for DPT, whose features are tokens of "
                             f"one depth: got {self.bottleneck_attention}")
        return self

    @model_validator(mode="after")
    def _weights_are_pinned(self) -> "NetworkParams":
        if self.weights_sha256 and not self.weights:
            raise ValueError("train.network.weights_sha256 must be \"\" where no weights are started from: "
                             f"got {self.weights_sha256}; set train.network.weights")
        return self
