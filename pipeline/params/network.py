"""Part of section `train`: the network."""

from pydantic import Field, model_validator

from pipeline.params.base import Section


class NetworkParams(Section):
    """A segmentation_models_pytorch architecture and encoder, always from scratch (no hub weights)."""

    architecture: str = "Unet"
    encoder: str = "resnet18"
    #: Encoder stages used; each halves the resolution.
    encoder_depth: int = Field(default=4, ge=3, le=5)
    #: Channels of the decoder, deepest first; only for architectures that take them ([] leaves the library's).
    decoder_channels: tuple[int, ...] = (128, 64, 32, 16)

    @model_validator(mode="after")
    def _channels_fit_depth(self) -> "NetworkParams":
        if self.decoder_channels and len(self.decoder_channels) != self.encoder_depth:
            raise ValueError(f"train.network.decoder_channels must have encoder_depth={self.encoder_depth} entries: "
                             f"got {list(self.decoder_channels)}")
        return self
