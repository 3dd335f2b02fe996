"""Pixel sources of the scene store."""

from dataclasses import dataclass

import numpy as np

from pipeline.geo.grid import Grid
from pipeline.scenes.store import Scene
from pipeline.types import FloatArray, Window


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
