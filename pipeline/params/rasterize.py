"""Section `rasterize`: the grid of the scene store."""

from typing import Literal

from pydantic import Field

from pipeline.params.base import Section


class RasterizeParams(Section):
    """Target pixel size and how reflectance is resampled to it (labels are always burnt anew, nearest)."""

    #: Pixel size in CRS units; 0 keeps each scene's own grid.
    resolution: float = Field(default=0.0, ge=0)
    resampling: Literal["bilinear", "average"] = "bilinear"
    #: A pixel takes a polygon's class if the polygon covers its centre (false) or touches it at all (true).
    all_touched: bool = False
