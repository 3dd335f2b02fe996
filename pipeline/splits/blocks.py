"""Square blocks of ground: which pixels form one, and which blocks of different scenes are one place.

A block is `block_size_m` on a side on the ground, in whole pixels, counted from multiples of its side in CRS
coordinates (see `lattice`), so that scenes in one CRS which show the same ground have their blocks in common, whatever
their corners. At a scene's edges there are smaller blocks; pieces of less than a quarter join their neighbour. Ground
without a valid pixel is no block (id 0).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import STRtree, area, intersection, length
from shapely.geometry import Polygon

from pipeline.geo.grid import Grid
from pipeline.geo.windows import row_bands
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.lattice import SceneLattice, lay_lattices
from pipeline.types import AnyArray, Window

#: Pixels worked on at a time.
BAND_PIXELS = 4_000_000


@dataclass(frozen=True)
class SceneBlocks:
    """The blocks of one scene; `ids` (block rows x block columns) are unique over scenes, 0 = no block."""

    scene_id: str
    grid: Grid
    lattice: SceneLattice
    ids: npt.NDArray[np.int32]

    @property
    def height_px(self) -> int:
        """Rows of a block that no edge of the scene cuts."""
        return self.lattice.height_px

    @property
    def width_px(self) -> int:
        """Columns of a block that no edge of the scene cuts."""
        return self.lattice.width_px

    def ids_in(self, window: Window) -> npt.NDArray[np.int32]:
        """Block id of every pixel of a window inside the scene, int32 HW."""
        rows = self.lattice.rows.pieces(window.row, window.height)
        cols = self.lattice.cols.pieces(window.col, window.width)
        ids: npt.NDArray[np.int32] = self.ids[np.ix_(rows, cols)]
        return ids

    def windows(self) -> Iterator[tuple[int, Window]]:
        """Block id and extent of every block, in the order of ids."""
        rows, cols = self.lattice.rows.edges, self.lattice.cols.edges
        for r, c in np.argwhere(self.ids > 0):
            yield int(self.ids[r, c]), Window(int(rows[r]), int(cols[c]), int(rows[r + 1] - rows[r]),
                                              int(cols[c + 1] - cols[c]))

    def cells(self) -> tuple[AnyArray, AnyArray]:
        """Pairs of a block id and a cell (row, column) of the lattice it lies in, N and N2."""
        (row_piece, row_cell), (col_piece, col_cell) = self.lattice.rows.links(), self.lattice.cols.links()
        ids = self.ids[np.ix_(row_piece, col_piece)]
        r, c = np.nonzero(ids)
        return ids[r, c], np.stack([row_cell[r], col_cell[c]], axis=1)


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

        In one CRS these are the blocks of one cell of the shared lattice. Where a scene's pixels lie askew of the
        lattice, its blocks reach over their cells by up to half a pixel: that sliver of ground, seen in two scenes,
        may lie in two parts unless `buffer_m` is as wide. Scenes in different CRSs (or turned against each other)
        have no lattice in common: their blocks tie each other together in chains where they share more than a strip
        of a pixel's width.
        """
        if len(self.scenes) == 1:
            return np.arange(self.count)
        ties = [self._cell_ties(), self.foreign_ties()]
        a, b = np.concatenate(ties, axis=1)
        nodes = int(max(self.count, b.max(initial=-1) + 1))
        links = coo_array((np.ones(len(a)), (a, b)), shape=(nodes, nodes))
        _, place = connected_components(links, directed=False)
        return np.asarray(place[:self.count], dtype=np.intp)

    def _cell_ties(self) -> npt.NDArray[np.int64]:
        """Ties between blocks (index = id - 1) and the cells they lie in, which are numbered from `count` on, 2N."""
        block, cell = [], []
        for scene in self.scenes:
            ids, cells = scene.cells()
            block.append(ids - 1)
            cell.append(np.column_stack([np.full(len(ids), scene.lattice.cluster), cells]))
        _, number = np.unique(np.concatenate(cell), axis=0, return_inverse=True)
        return np.stack([np.concatenate(block), number.ravel() + self.count]).astype(np.int64)

    def foreign_ties(self) -> npt.NDArray[np.int64]:
        """Pairs of blocks (index = id - 1) of scenes without a common lattice that share ground, 2N."""
        cluster = np.array([s.lattice.cluster for s in self.scenes])[self.scene_of_block]
        if np.unique(cluster).size < 2:
            return np.zeros((2, 0), dtype=np.int64)
        shapes = self.frame().geometry.to_numpy()
        pixels = np.array([w.height * w.width for s in self.scenes for _, w in s.windows()])
        a, b = STRtree(shapes).query(shapes, predicate="intersects")
        other = (a < b) & (cluster[a] != cluster[b])
        a, b = a[other], b[other]
        shared, size = intersection(shapes[a], shapes[b]), area(shapes)
        pixel = np.sqrt(size / pixels)  # in the frame's unit
        width = 2 * area(shared) / np.maximum(length(shared), np.finfo(float).tiny)  # of a long strip
        tied = (width > np.maximum(pixel[a], pixel[b])) | (area(shared) > 0.5 * np.minimum(size[a], size[b]))
        return np.stack([a[tied], b[tied]]).astype(np.int64)


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
    lattices = lay_lattices([scene.grid for scene in store], block_size_m)
    for scene, lattice in zip(store, lattices, strict=True):
        blocks = _lay_scene(scene, lattice, count)
        count += int(np.count_nonzero(blocks.ids))
        laid.append(blocks)
    return Blocks(tuple(laid), count)


def _lay_scene(scene: Scene, lattice: SceneLattice, before: int) -> SceneBlocks:
    grid = scene.grid
    used = np.zeros((len(lattice.rows.edges) - 1, len(lattice.cols.edges) - 1), dtype=bool)
    for band in bands_of(grid):
        any_valid = np.logical_or.reduceat(scene.valid[band.slices] > 0, lattice.cols.edges[:-1], axis=1)
        np.logical_or.at(used, lattice.rows.pieces(band.row, band.height), any_valid)
    ids = np.zeros(used.shape, dtype=np.int32)
    ids[used] = before + 1 + np.arange(np.count_nonzero(used))
    return SceneBlocks(scene.id, grid, lattice, ids)
