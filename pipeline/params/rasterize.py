"""Section `rasterize`: the grid of the scene store, and what its labels weigh."""

import warnings
from typing import Literal

from pydantic import Field, field_validator

from pipeline.params.base import Section
from pipeline.params.task import Task


class RasterizeParams(Section):
    """Target pixel size, how reflectance is resampled to it (labels are always burnt anew, nearest), and weights."""

    #: Pixel size in CRS units; 0 keeps each scene's own grid.
    resolution: float = Field(default=0.0, ge=0)
    resampling: Literal["bilinear", "average"] = "bilinear"
    #: A pixel takes a polygon's class if the polygon covers its centre (false) or touches it at all (true).
    all_touched: bool = False
    #: Weight of the background that fills ground outside incomplete outlines (exhaustive coverage): drawn by nobody.
    #: Above 0, since pixels of no weight would still be drawn and counted; `coverage: sparse` ignores that ground.
    background_weight: float = Field(default=1.0, le=1)
    #: Metres over which a pixel's weight rises from a label boundary, on both its sides; 0 weighs all pixels alike.
    boundary_ramp_m: float = Field(default=0.0, ge=0)

    @field_validator("background_weight")
    @classmethod
    def _background_counts(cls, value: float) -> float:
        if not value > 0:
            raise ValueError("rasterize.background_weight must be above 0, since background of no weight would still "
                             f"be drawn and counted as labelled: got {value:g}; to leave ground outside the labels "
                             "out, set acquire.coverage: sparse")
        return value

    def check(self, task: Task) -> None:
        """Warn of a setting without effect."""
        if self.resolution == 0 and self.resampling != "bilinear":
            warnings.warn(f"rasterize.resampling={self.resampling} has no effect: rasterize.resolution=0 keeps each "
                          "scene's own pixels; set a resolution, or leave resampling out", stacklevel=2)
