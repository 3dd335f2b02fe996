"""A plain fully convolutional network, the baseline that shows what encoders and skip connections are worth.

Shape legend: N images, C channels, K classes, H rows, W columns.
"""

import segmentation_models_pytorch as smp
from torch import Tensor, nn

#: Channels from the deepest stage to the finest where the configuration names none.
CHANNELS = (256, 128, 64, 32, 16)


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class PlainEncoder(nn.Module):
    """Per stage two 3 x 3 convolutions, of which the first halves the resolution by its stride."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(_convolution(before, width, stride=2), _convolution(width, width))
                                    for before, width in zip((channels, *widths), widths, strict=False))
        #: Channels of each feature, the image first (as the library's encoders have it).
        self.out_channels = [channels, *widths]

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        """The image and the feature of each stage."""
        features = [image_NCHW]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class PlainDecoder(nn.Module):
    """From the deepest feature alone: nearest neighbour upsampling by 2 and a 3 x 3 convolution per stage."""

    def __init__(self, deepest: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_convolution(before, width)
                                    for before, width in zip((deepest, *widths), widths, strict=False))

    def forward(self, features: list[Tensor]) -> Tensor:
        """A feature of the image's size."""
        value = features[-1]
        for stage in self.stages:
            value = stage(nn.functional.interpolate(value, scale_factor=2.0, mode="nearest"))
        return value


class PlainCNN(nn.Module):
    """Convolutions down and up again, without skip connections: Long, Shelhamer & Darrell 2015 (FCN), their -32s kind.

    Unlike theirs it is trained from scratch, halves by strides and upsamples in steps with a convolution after each.
    """

    def __init__(self, channels: int, classes: int, depth: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        widths = widths or CHANNELS[-depth:]
        self.encoder = PlainEncoder(channels, widths[::-1])
        self.decoder = PlainDecoder(widths[0], widths)
        self.segmentation_head = nn.Sequential(nn.Conv2d(widths[-1], classes, 1))
        for part in (self.encoder, self.decoder):
            smp.base.initialization.initialize_decoder(part)
        smp.base.initialization.initialize_head(self.segmentation_head)
