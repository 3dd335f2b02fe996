"""Labels and reference of a scene as rasters, read window by window; polygons are burnt only where a window meets them.

Shape legend: H rows, W columns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
from pyproj import Transformer

from pipeline.geo import raster_io
from pipeline.geo.burn import PolygonLayer
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import read_vectors
from pipeline.geo.windows import flat_bands
from pipeline.types import IGNORE_INDEX, FloatArray, UInt8Array, Window

#: Pixels worked on at a time, and rows.
_BAND_PIXELS, _ROWS = 1_000_000, 256

_IGNORE = "ignore"

#: A window's class ids, uint8 HW, 255 = unknown.
ReadClasses = Callable[[Window], UInt8Array]


def scene_bands(grid: Grid) -> Iterator[Window]:
    """The full-width windows in which a scene is worked on, top to bottom."""
    return flat_bands(grid.height, grid.width, _BAND_PIXELS, _ROWS)


def fill_value(coverage: str, background: str, classes: Sequence[str]) -> int:
    """What ground outside the labels is: the background where they are declared exhaustive, else unknown."""
    return list(classes).index(background) if coverage == "exhaustive" and background else IGNORE_INDEX


@dataclass(frozen=True)
class LabelSet:
    """Labels of all scenes. Columns: class; in `refined` also confidence and scene. `fill` is outside them."""

    refined: gpd.GeoDataFrame
    unrefined: gpd.GeoDataFrame
    classes: tuple[str, ...]
    #: Class id of ground outside the labels: the background's where they are exhaustive, 255 where sparse.
    fill: int

    def of_scene(self, scene_id: str, grid: Grid) -> "LabelSet":
        """The labels of one scene that may lie on a grid: what a job needs.

        Unrefined labels belong to all scenes, unless they have a column `scene` that names one ("" for all).
        """
        refined, unrefined = self.refined[self.refined["scene"] == scene_id], self.unrefined
        if "scene" in unrefined:
            unrefined = unrefined[unrefined["scene"].isin([scene_id, ""])]
        return replace(self, refined=_near(refined, grid), unrefined=_near(unrefined, grid))


def _near(frame: gpd.GeoDataFrame, grid: Grid) -> gpd.GeoDataFrame:
    """Rows whose bounding box may meet the grid's, compared in the frame's CRS; all, where that cannot be told."""
    bounds = grid.bounds
    if grid.crs is not None and frame.crs is not None and frame.crs != grid.crs:
        bounds = Transformer.from_crs(grid.crs, frame.crs, always_xy=True).transform_bounds(*bounds)
    left, bottom, right, top = bounds
    if not np.isfinite(bounds).all() or left > right:  # beyond the frame's CRS, or across the antimeridian
        return frame
    slack = 0.01 * max(right - left, top - bottom)  # a straight edge on one map is a curve on another
    own = frame.bounds
    meets = (own["maxx"] >= left - slack) & (own["minx"] <= right + slack)
    meets &= (own["maxy"] >= bottom - slack) & (own["miny"] <= top + slack)
    return frame[meets]


@dataclass(frozen=True, eq=False)
class BurntLabels:
    """Polygons of one scene as class ids and weights; later polygons lie on top, "ignore" burns 255."""

    layer: PolygonLayer
    #: Class id and weight by place of the polygon, plus 1; index 0 is ground outside all.
    ids: UInt8Array
    weights: FloatArray

    @classmethod
    def of(cls, frame: gpd.GeoDataFrame, grid: Grid, classes: Sequence[str], fill: int, all_touched: bool = False,
           outside_weight: float = 1.0) -> "BurntLabels":
        """Labels in any CRS, on a grid.

        Args:
            frame: columns class and, for weights other than 1, confidence (taken to two decimals).
            grid: the scene's.
            classes: class names by id.
            fill: class id of ground outside the polygons.
            all_touched: whether a pixel belongs to a polygon that touches it, or only to one that covers its centre.
            outside_weight: weight of ground outside the polygons.
        """
        id_of = {**{name: i for i, name in enumerate(classes)}, _IGNORE: IGNORE_INDEX}
        ids = np.array([fill, *(id_of[name] for name in frame["class"])], dtype=np.uint8)
        weights = np.ones(len(frame) + 1, dtype=np.float32)
        if "confidence" in frame:
            weights[1:] = (frame["confidence"].to_numpy() * 100).round().astype(np.float32) / np.float32(100)
        weights[0] = outside_weight
        return cls(PolygonLayer.of(frame.geometry, grid, all_touched), ids, weights)

    def classes(self, window: Window) -> UInt8Array:
        """Class ids of a window inside the scene, uint8 HW."""
        ids: UInt8Array = self.ids[self.layer.uppermost(window)]
        return ids

    def classes_and_weights(self, window: Window) -> tuple[UInt8Array, FloatArray]:
        """Class ids, uint8 HW, and weights, float32 HW, of a window inside the scene."""
        place = self.layer.uppermost(window)
        return self.ids[place], self.weights[place]


@contextmanager
def open_truth(reference: Path, grid: Grid, classes: Sequence[str]) -> Iterator[ReadClasses | None]:
    """The independent reference on a grid (a raster's nearest pixels, or polygons); None where there is none."""
    if (reference / "truth.tif").exists():
        with open_nearest(reference / "truth.tif", grid, IGNORE_INDEX) as read:
            yield read
    elif (reference / "truth.gpkg").exists():
        frame = _near(read_vectors(reference / "truth.gpkg", "truth"), grid)
        yield BurntLabels.of(frame, grid, classes, IGNORE_INDEX).classes
    else:
        yield None


@contextmanager
def open_nearest(path: Path, grid: Grid, unknown: int) -> Iterator[ReadClasses]:
    """A raster of ids on a grid by nearest pixels, `unknown` outside it."""
    with raster_io.open_on_grid(path, grid, "nearest", nodata=unknown) as reader:
        yield lambda window: np.asarray(reader.read(window, [1])[..., 0], dtype=np.uint8)
