"""Square blocks of ground: which pixels form one, and which blocks of different scenes are one place.

A block is `block_size_m` on a side on the ground, in whole pixels, counted from the scene's upper left
corner. What remains at the right and lower edge forms smaller blocks. Ground without a valid pixel is no
block (id 0).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import STRtree, area, intersection
from shapely.geometry import Polygon

from pipeline.geo.grid import Grid
from pipeline.geo.windows import row_bands
from pipeline.scenes.store import Scene, SceneStore
from pipeline.types import AnyArray, BoolArray, Window

#: Pixels worked on at a time.
BAND_PIXELS = 4_000_000

#: Blocks of two scenes that share less than this part of the smaller one only touch.
_TOUCH = 1e-3


@dataclass(frozen=True)
class SceneBlocks:
    """The blocks of one scene; `ids` (block rows x block columns) are unique over scenes, 0 = no block."""

    scene_id: str
    grid: Grid
    height_px: int
    width_px: int
    ids: npt.NDArray[np.int32]

    def ids_in(self, window: Window) -> npt.NDArray[np.int32]:
        """Block id of every pixel of a window inside the scene, int32 HW."""
        rows = np.arange(window.row, window.row + window.height) // self.height_px
        cols = np.arange(window.col, window.col + window.width) // self.width_px
        ids: npt.NDArray[np.int32] = self.ids[np.ix_(rows, cols)]
        return ids

    def core(self, window: Window, buffer_m: float, alone: bool = True) -> BoolArray:
        """Pixels of a window farther than `buffer_m` from every other block, bool HW.

        Unless the scene is `alone`, blocks of other scenes may lie beyond its edges.
        """
        pixel_width, pixel_height = self.grid.ground_pixel_m
        rows = np.arange(window.row, window.row + window.height)
        cols = np.arange(window.col, window.col + window.width)
        far_rows = _far(rows, self.height_px, self.grid.height, pixel_height, buffer_m, alone)
        far_cols = _far(cols, self.width_px, self.grid.width, pixel_width, buffer_m, alone)
        return np.logical_and(far_rows[:, None], far_cols)

    def windows(self) -> Iterator[tuple[int, Window]]:
        """Block id and extent of every block, in the order of ids."""
        for r, c in np.argwhere(self.ids > 0):
            row, col = int(r) * self.height_px, int(c) * self.width_px
            yield int(self.ids[r, c]), Window(row, col, min(self.height_px, self.grid.height - row),
                                              min(self.width_px, self.grid.width - col))


def _far(positions: AnyArray, size: int, length: int, pixel_m: float, buffer_m: float, alone: bool) -> BoolArray:
    """Along one axis: is the nearest pixel (centre to centre) of both neighbour blocks beyond the buffer?"""
    first = positions // size * size
    last = np.minimum(first + size, length)
    before = (alone & (first == 0)) | ((positions - first + 1) * pixel_m > buffer_m)
    after = (alone & (last == length)) | ((last - positions) * pixel_m > buffer_m)
    return np.asarray(before & after, dtype=bool)


@dataclass(frozen=True)
class Blocks:
    """The blocks of all scenes; ids run from 1 to `count`, scene by scene, row by row."""

    scenes: tuple[SceneBlocks, ...]
    count: int

    def __getitem__(self, scene_id: str) -> SceneBlocks:
        return next(b for b in self.scenes if b.scene_id == scene_id)

    @property
    def scene_of_block(self) -> npt.NDArray[np.intp]:
        """Index of the scene of each block (index = id - 1)."""
        return np.repeat(np.arange(len(self.scenes)), [np.count_nonzero(s.ids) for s in self.scenes])

    def frame(self) -> gpd.GeoDataFrame:
        """One row a block in the order of ids: block, scene, geometry.

        The CRS is the scenes' own where they share one, else EPSG:4326.
        """
        parts = []
        for scene in self.scenes:
            pairs = list(scene.windows())
            columns = {"block": np.array([i for i, _ in pairs], dtype=np.int32),
                       "scene": [scene.scene_id] * len(pairs)}
            outlines = [_outline(scene.grid, w) for _, w in pairs]
            parts.append(gpd.GeoDataFrame(columns, geometry=outlines, crs=scene.grid.crs_wkt or None))
        one_crs = len({s.grid.crs_wkt for s in self.scenes}) == 1
        frames = parts if one_crs else [p.to_crs("EPSG:4326") for p in parts]
        merged = pd.concat(frames, ignore_index=True)
        return gpd.GeoDataFrame(merged, geometry="geometry", crs=frames[0].crs)

    def places(self) -> npt.NDArray[np.intp]:
        """Place of each block (index = id - 1): blocks of different scenes that share ground are one place.

        Dates of one footprint share places; scenes that overlap with an offset tie blocks together in chains.
        """
        if len(self.scenes) == 1:
            return np.arange(self.count)
        frame = self.frame()
        shapes, scene = frame.geometry.to_numpy(), frame["scene"].to_numpy()
        a, b = STRtree(shapes).query(shapes, predicate="intersects")
        other = (a < b) & (scene[a] != scene[b])
        a, b = a[other], b[other]
        smaller = np.minimum(area(shapes[a]), area(shapes[b]))
        shared = area(intersection(shapes[a], shapes[b])) > _TOUCH * smaller
        a, b = a[shared], b[shared]
        links = coo_array((np.ones(len(a)), (a, b)), shape=(self.count, self.count))
        _, place = connected_components(links, directed=False)
        return np.asarray(place, dtype=np.intp)


def _outline(grid: Grid, window: Window) -> Polygon:
    left, top, right, bottom = window.col, window.row, window.col + window.width, window.row + window.height
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Polygon([grid.transform @ corner for corner in corners])


def bands_of(grid: Grid, multiple: int = 1) -> Iterator[Window]:
    """Full-width windows of about BAND_PIXELS pixels, top to bottom; all but the last have a multiple of rows."""
    rows = max(1, BAND_PIXELS // grid.width)
    return row_bands(grid.height, grid.width, max(multiple, rows // multiple * multiple))


def lay_blocks(store: SceneStore, block_size_m: float) -> Blocks:
    """Lay blocks over every scene of a store.

    Raises:
        SceneError: a scene has no CRS, so that metres mean nothing.
    """
    laid, count = [], 0
    for scene in store:
        blocks = _lay_scene(scene, block_size_m, count)
        count += int(np.count_nonzero(blocks.ids))
        laid.append(blocks)
    return Blocks(tuple(laid), count)


def _lay_scene(scene: Scene, block_size_m: float, before: int) -> SceneBlocks:
    grid = scene.grid
    pixel_width, pixel_height = grid.ground_pixel_m
    height = max(1, round(block_size_m / pixel_height))
    width = max(1, round(block_size_m / pixel_width))
    used = np.zeros((-(-grid.height // height), -(-grid.width // width)), dtype=bool)
    starts = np.arange(0, grid.width, width)
    for band in bands_of(grid):
        any_valid = np.logical_or.reduceat(scene.valid[band.slices] > 0, starts, axis=1)
        np.logical_or.at(used, np.arange(band.row, band.row + band.height) // height, any_valid)
    ids = np.zeros(used.shape, dtype=np.int32)
    ids[used] = before + 1 + np.arange(np.count_nonzero(used))
    return SceneBlocks(scene.id, grid, height, width, ids)
