"""The one immutable grid type: where pixels lie, and how large they are on the ground."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError

from pipeline.errors import SceneError
from pipeline.types import Window

_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Grid:
    """A raster's geometry. `crs_wkt` is "" for a grid that counts in pixels only."""

    crs_wkt: str
    transform: Affine
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @cached_property
    def crs(self) -> CRS | None:
        """The coordinate reference system, or None."""
        return CRS.from_wkt(self.crs_wkt) if self.crs_wkt else None

    @property
    def crs_name(self) -> str:
        """Short name for messages: EPSG:32748 where there is a code, else the CRS's own name, else 'no CRS'."""
        if self.crs is None:
            return "no CRS"
        code = self.crs.to_epsg()
        return f"EPSG:{code}" if code else str(self.crs.name)

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel in CRS units, both positive."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in CRS units."""
        corners = [self.transform @ xy for xy in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height))]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @cached_property
    def ground_pixel_m(self) -> tuple[float, float]:
        """Width and height of the centre pixel in metres on the WGS 84 ellipsoid (geodesic).

        A nominal pixel of a Mercator map is smaller on the ground than its CRS units say.

        Raises:
            SceneError: the grid has no CRS, so metres are unknown.
        """
        if self.crs is None:
            raise SceneError("a grid must have a CRS where metres are meant: got none; set the scene's crs")
        row, col = self.height / 2, self.width / 2
        to_lonlat = Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        points = [self.transform @ p for p in ((col - 0.5, row), (col + 0.5, row), (col, row - 0.5), (col, row + 0.5))]
        xs, ys = np.array(points).T
        lon, lat = to_lonlat.transform(xs, ys)
        _, _, width = _GEOD.inv(lon[0], lat[0], lon[1], lat[1])
        _, _, height = _GEOD.inv(lon[2], lat[2], lon[3], lat[3])
        if not (np.isfinite(width) and np.isfinite(height)):
            raise SceneError(f"a grid must lie where its CRS is defined: {self.crs_name} with bounds {self.bounds}; "
                             "check the scene's crs")
        return float(width), float(height)

    @property
    def pixel_area_m2(self) -> float:
        """Ground area of the centre pixel in square metres."""
        width, height = self.ground_pixel_m
        return width * height

    def crop(self, window: Window) -> "Grid":
        """The grid of a window (which may reach beyond this grid)."""
        moved = self.transform @ Affine.translation(window.col, window.row)
        return Grid(self.crs_wkt, moved, window.height, window.width)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"crs": self.crs_wkt, "transform": list(self.transform)[:6], "height": self.height, "width": self.width}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Grid":
        """The inverse of to_dict."""
        return cls(data["crs"], Affine(*data["transform"]), data["height"], data["width"])


def parse_crs(text: str, subject: str) -> CRS:
    """A CRS from user input such as "EPSG:4326".

    Raises:
        SceneError: pyproj does not know it.
    """
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise SceneError(f"{subject} must be a CRS that PROJ knows, such as EPSG:32748: got {text!r}") from error
