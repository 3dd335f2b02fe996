"""Pixel sources: a scene of the store, and the channels that a recipe makes of any source's bands."""

from dataclasses import dataclass

import numpy as np

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.geo.grid import Grid
from pipeline.inference.tiles import PixelSource
from pipeline.scenes.store import Scene
from pipeline.types import BoolArray, FloatArray, Window


@dataclass(frozen=True)
class StorePixels:
    """The pixels of a scene of the store."""

    scene: Scene

    @property
    def grid(self) -> Grid:
        """The scene's grid."""
        return self.scene.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """The store's band names."""
        return self.scene.bands

    def read(self, window: Window) -> FloatArray:
        """float32 CHW scene values of a window; NaN where the scene is invalid."""
        image = self.scene.image[window.slices].astype(np.float32)
        image[self.scene.valid[window.slices] == 0] = np.nan
        return np.ascontiguousarray(np.moveaxis(image, -1, 0))

    def valid(self, window: Window) -> BoolArray:
        """Where the scene has data in every band, boolean HW."""
        return np.asarray(self.scene.valid[window.slices] != 0, dtype=np.bool_)


@dataclass(frozen=True)
class ChannelPixels:
    """The channels of a recipe over a source of bands; each value is the same whatever windows are read."""

    source: PixelSource
    recipe: ChannelRecipe

    def __post_init__(self) -> None:
        if set(self.source.bands) != set(self.recipe.bands) or len(self.source.bands) != len(self.recipe.bands):
            raise ModelError(f"scene bands must be the model's {list(self.recipe.bands)}: "
                             f"got {list(self.source.bands)}")

    @property
    def grid(self) -> Grid:
        """The source's grid."""
        return self.source.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.recipe.channels

    def read(self, window: Window) -> FloatArray:
        """float32 CHW channels of a window inside the grid; NaN where a band is, or a channel is undefined."""
        radius, (height, width) = self.recipe.radius_px, self.grid.shape
        top, left = max(window.row - radius, 0), max(window.col - radius, 0)
        bottom, right = min(window.row + window.height + radius, height), min(window.col + window.width + radius, width)
        order = [self.source.bands.index(b) for b in self.recipe.bands]
        bands_BHW = self.source.read(Window(top, left, bottom - top, right - left))[order]
        row, col = window.row - top, window.col - left
        return self.recipe.compute(bands_BHW)[:, row:row + window.height, col:col + window.width]

    def valid(self, window: Window) -> BoolArray:
        """Where the scene has data in every band: an undefined channel makes no hole in a map."""
        return self.source.valid(window)
