"""Channels by name: what the network sees, computed from the bands that are read from scenes.

Shape legend: B bands, C channels, H rows, W columns.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import ParamsError
from pipeline.features.indices import compute, index_bands
from pipeline.params.task import Task, TextureParams, check_channels, texture_of
from pipeline.types import FloatArray


@dataclass(frozen=True)
class ChannelRecipe:
    """How channels come from bands; travels in model.json and in the metadata of model.onnx.

    A window's channels depend on the pixels within `radius_px` of it: cut it with that halo (less at a scene's edge,
    or NaN beyond it, which is the same), compute, crop. Then every tiling gives the same channels, bit for bit.

    Training keeps this order: cut the bands with the halo, change them photometrically, compute, crop, turn. An index
    or a texture of changed bands then is what a sensor with that illumination would have given.

    Raises:
        ParamsError: a name is neither a band, nor a spyndex index, nor a texture of a band; or it occurs twice.
        SceneError: an index needs a band that is not among `bands`.
    """

    #: Names of what `compute` is given, in order.
    bands: tuple[str, ...]
    #: Names of what it gives, in order.
    channels: tuple[str, ...]
    #: None where no channel is a texture.
    texture: TextureParams | None
    #: Scene values are divided by this for indices and texture, which are of reflectance; bands pass as they are.
    reflectance_scale: float

    def __post_init__(self) -> None:
        try:
            check_channels(self.channels, self.bands)
        except ValueError as error:
            raise ParamsError(str(error)) from error
        if self._textures and self.texture is None:
            raise ParamsError(f"channels {list(self.channels)} must have texture parameters: got none; "
                              "set task.texture")
        for index in self.indices:
            index_bands(index, self.bands)

    @classmethod
    def of(cls, task: Task) -> "ChannelRecipe":
        """The recipe of a task; its bands as they are where task.channels is empty."""
        return cls.named(task.bands, task.channels or task.bands, task.texture, task.reflectance_scale)

    @classmethod
    def named(cls, bands: tuple[str, ...], channels: tuple[str, ...], texture: TextureParams | None,
              reflectance_scale: float) -> "ChannelRecipe":
        """A recipe whose `texture` is dropped where no channel needs it, so that equal recipes compare equal."""
        needed = any(texture_of(c) for c in channels if c not in bands)
        return cls(bands, channels, texture if needed else None, reflectance_scale)

    @property
    def is_plain(self) -> bool:
        """Whether the channels are the bands as they are."""
        return self.channels == self.bands

    @property
    def indices(self) -> tuple[str, ...]:
        """The channels that are spectral indices."""
        return tuple(c for c in self.channels if c not in self.bands and not texture_of(c))

    @property
    def radius_px(self) -> int:
        """How far a channel looks around its pixel; 0 without texture."""
        return self.texture.window_px // 2 if self.texture else 0

    @cached_property
    def _textures(self) -> dict[str, dict[str, int]]:
        """Band -> property -> place of the channel."""
        found: dict[str, dict[str, int]] = {}
        for place, channel in enumerate(self.channels):
            if channel not in self.bands and (texture := texture_of(channel)):
                found.setdefault(texture[1], {})[texture[0]] = place
        return found

    def compute(self, image_BHW: FloatArray) -> FloatArray:
        """Channels float32 CHW of an image float32 BHW in scene units, NaN = invalid.

        A band passes as it is. An index or texture is NaN where it is undefined or its pixel is invalid in a band it
        uses. No value beyond the image and none that is NaN has a say, so held-out ground given as NaN cannot leak.
        """
        if len(image_BHW) != len(self.bands):
            raise ValueError(f"image must have the bands {self.bands}: got {len(image_BHW)}")
        if self.is_plain:
            return image_BHW
        result = np.empty((len(self.channels), *image_BHW.shape[1:]), dtype=np.float32)
        reflectance = image_BHW / np.float32(self.reflectance_scale)
        indices = self.indices
        for place, channel in enumerate(self.channels):
            if channel in self.bands:
                result[place] = image_BHW[self.bands.index(channel)]
            elif channel in indices:
                result[place] = compute(channel, np.moveaxis(reflectance, 0, -1), self.bands)
        if self.texture is not None:
            from pipeline.features.texture import texture

            for band, places in self._textures.items():
                pixels = reflectance[self.bands.index(band)]
                for kind, values in texture(pixels, tuple(places), self.texture).items():
                    result[places[kind]] = values
        return result
