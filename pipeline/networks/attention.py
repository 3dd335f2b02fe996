"""Attention: squeeze-and-excitation over channels for decoders, CBAM for the deepest feature of an encoder.

Shape legend: N images, C channels, H rows, W columns.
"""

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

#: Channels are squeezed to a sixteenth (Hu et al. 2018, Woo et al. 2018, and the scSE of the library), at least to one.
REDUCTION = 16


class ChannelSqueeze(nn.Module):
    """cSE: each channel scaled by sigma(W1 ReLU(W2 z)), z its mean over all pixels.

    Roy, Navab & Wachinger 2018, Concurrent spatial and channel squeeze and excitation, eq. 1 to 3. They squeeze to
    half of the channels; this one to a sixteenth, so that scSE is this plus a gate per pixel and nothing else.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, feature_NCHW: Tensor) -> Tensor:
        """The feature times a factor in (0, 1) per image and channel."""
        mean = feature_NCHW.mean(dim=(2, 3), keepdim=True)
        return feature_NCHW * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))


class BlockAttention(nn.Module):
    """CBAM: a factor per channel from its mean and maximum, then one per pixel from the channels' mean and maximum.

    Woo, Park, Lee & Kweon 2018, CBAM: Convolutional Block Attention Module, eq. 2 (shared perceptron) and eq. 3
    (7 x 7 convolution). Maxima by `amax`, whose gradient is deterministic on GPUs, where adaptive pooling's is not.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.perceptron = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(),
                                        nn.Conv2d(hidden, channels, 1, bias=False))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, feature_NCHW: Tensor) -> Tensor:
        """The feature, weighed."""
        mean, most = feature_NCHW.mean(dim=(2, 3), keepdim=True), feature_NCHW.amax(dim=(2, 3), keepdim=True)
        weighed = feature_NCHW * torch.sigmoid(self.perceptron(mean) + self.perceptron(most))
        over_channels = torch.cat([weighed.mean(dim=1, keepdim=True), weighed.amax(dim=1, keepdim=True)], dim=1)
        return weighed * torch.sigmoid(self.spatial(over_channels))


def only_channels(decoder: nn.Module) -> None:
    """Put cSE in the place of each scSE that the library built into a decoder, with the library's initial values."""
    for module in decoder.modules():
        if isinstance(module, smp.base.modules.Attention) and isinstance(module.attention, smp.base.modules.SCSEModule):
            module.attention = ChannelSqueeze(module.attention.cSE[1].in_channels)
            smp.base.initialization.initialize_decoder(module.attention)
