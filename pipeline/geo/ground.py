"""Ground areas at map speed: the map's own areas times the ratio of ground to map, known on a lattice over the grid.

The ratio changes slowly (in a conformal map by the square of the scale), so it is measured with geodesics (Karney 2013,
J Geod 87, 43-55) at nodes a few kilometres apart and interpolated bilinearly between them. A polygon takes the ratio at
its centroid, which is exact where the ratio is linear over the polygon; larger ones are measured with geodesics.
"""

from dataclasses import dataclass
from functools import cached_property

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod, Transformer

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import geodesic_area_m2
from pipeline.types import AnyArray

_GEOD = Geod(ellps="WGS84")

#: Distance of nodes at most, and side of the largest polygons that take the ratio at their centroid, in metres.
_NODES_M = 5_000.0
_LARGEST_M = 40_000.0

DoubleArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """Measures ground areas of a grid's pixels and of polygons in its CRS."""

    grid: Grid

    @cached_property
    def _nodes(self) -> tuple[AnyArray, AnyArray, DoubleArray]:
        """Rows and columns (of pixel corners, float64) of the nodes, and square metres of a pixel at each.

        Raises:
            SceneError: the grid has no CRS, or lies where its CRS is not defined.
        """
        rows, cols = (np.linspace(0, n, max(2, int(np.ceil(n * size / _NODES_M)) + 1))
                      for n, size in zip(self.grid.shape, self.grid.ground_pixel_m[::-1], strict=True))
        half = 500.0 / max(self.grid.ground_pixel_m)
        row, col = (a.ravel() for a in np.meshgrid(rows, cols, indexing="ij"))
        t = self.grid.transform
        corner_col = col[:, None] + half * np.array([-1, 1, 1, -1])
        corner_row = row[:, None] + half * np.array([1, 1, -1, -1])
        x, y = t.a * corner_col + t.b * corner_row + t.c, t.d * corner_col + t.e * corner_row + t.f
        to_lonlat = Transformer.from_crs(self.grid.crs, "EPSG:4326", always_xy=True)
        lon, lat = to_lonlat.transform(x, y)
        areas = [abs(_GEOD.polygon_area_perimeter(a, b)[0]) for a, b in zip(lon, lat, strict=True)]
        pixel_m2 = np.array(areas).reshape(len(rows), len(cols)) / (2 * half) ** 2
        if not np.isfinite(pixel_m2).all():
            raise SceneError(f"a grid must lie where its CRS is defined: {self.grid.crs_name} with bounds "
                             f"{self.grid.bounds}; check the scene's crs")
        return rows, cols, pixel_m2

    def pixel_m2(self, row: AnyArray, col: AnyArray) -> DoubleArray:
        """Square metres of a pixel at points given in rows and columns from the grid's upper left corner."""
        rows, cols, nodes = self._nodes
        y, x = row / (rows[1] - rows[0]), col / (cols[1] - cols[0])
        i = np.clip(y.astype(np.int64), 0, len(rows) - 2)
        j = np.clip(x.astype(np.int64), 0, len(cols) - 2)
        v, u = y - i, x - j
        upper = nodes[i, j] * (1 - u) + nodes[i, j + 1] * u
        lower = nodes[i + 1, j] * (1 - u) + nodes[i + 1, j + 1] * u
        area: DoubleArray = upper * (1 - v) + lower * v
        return area

    def rows_m2(self, first: int, count: int) -> tuple[DoubleArray, float]:
        """Pixel areas in the middle of each of `count` rows at the lattice's columns, and the distance of those."""
        _, cols, _ = self._nodes
        row, col = np.meshgrid(np.arange(first, first + count) + 0.5, cols, indexing="ij")
        return self.pixel_m2(row, col), float(cols[1] - cols[0])

    def area_m2(self, shapes: AnyArray) -> DoubleArray:
        """Ground areas of polygons in the grid's CRS, float64 square metres; 0 for missing and empty ones.

        Polygons larger than 40 km, or beyond the grid, are measured edge by edge with geodesics.
        """
        bounds = shapely.bounds(shapes)
        left, bottom, right, top = self.grid.bounds
        units_x, units_y = (_LARGEST_M * p / m for p, m in zip(self.grid.pixel_size, self.grid.ground_pixel_m,
                                                              strict=True))
        with np.errstate(invalid="ignore"):
            near = (bounds[:, 0] >= left - units_x / 16) & (bounds[:, 2] <= right + units_x / 16)
            near &= (bounds[:, 1] >= bottom - units_y / 16) & (bounds[:, 3] <= top + units_y / 16)
            near &= (bounds[:, 2] - bounds[:, 0] <= units_x) & (bounds[:, 3] - bounds[:, 1] <= units_y)
            far = ~near & np.isfinite(bounds).all(axis=1)
        areas = np.zeros(len(shapes))
        centres = shapely.centroid(shapes[near])
        inverse = ~self.grid.transform
        x = np.clip(shapely.get_x(centres), bounds[near, 0], bounds[near, 2])  # that of a bow tie may lie anywhere
        y = np.clip(shapely.get_y(centres), bounds[near, 1], bounds[near, 3])
        col, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
        areas[near] = shapely.area(shapes[near]) / abs(self.grid.transform.determinant) * self.pixel_m2(row, col)
        if far.any():
            areas[far] = geodesic_area_m2(gpd.GeoSeries(shapes[far], crs=self.grid.crs))
        return areas
