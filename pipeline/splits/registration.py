"""How far the labels as they came lie off the image: per tile and scene, with uncertainty, from train ground only.

Pixels become codes (features.codebook), and labels moved by every offset within reach are judged by how well they
foretell the codes. The offset of greatest mutual information over the scene (Maes et al. 1997, IEEE TMI 16, 187; no
model of how classes look) fixes each class's log-odds of each code; their sum over pixels scores the offsets of every
block of ground, and splits.peak finds the maximum and its error. The white squares of a chequerboard are scored by the
log-odds of the black ones and the other way round, so that chance does not confirm itself. Unlabelled ground is taken
for one more class, so that sparse outlines show where they end. splits.label_tiles says which pixels count.

Offsets are those to *apply* to the labels: metres on the ground along the CRS's axes. They are measured on the labels
as acquire made them, whatever refine_labels.shift says: so they are its values, not corrections of them.

Shape legend: K classes, Q codes, M blocks, Y and X offsets, 2 colours of the chequerboard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.fanout import fan_out
from pipeline.features.codebook import grow
from pipeline.geo.grid import Grid
from pipeline.labels.shift import units_per_metre
from pipeline.params.spatial_split import RegistrationParams
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.label_tiles import LabelTiles
from pipeline.splits.peak import TOO_LITTLE, Peak, locate, no_peak
from pipeline.splits.split import Split
from pipeline.types import AnyArray, Window

#: A tile is judged by the disagreement of its 4 x 4 parts, a scene by that of blocks of one or more such parts.
_PARTS = 4

#: Side of those blocks in pixels, where so many of them fit, and their most: they grow with the scene, memory does not.
_BLOCK_PX, _LEAST_BLOCKS, _MOST_BLOCKS = 64, 16, 4096

#: Pixels for each class and code that a codebook may have, and its most levels.
_PER_CELL, _LEVELS = 40, 6

#: Standard errors above which an offset is no use (pixels).
_MOST_ERROR_PX = 1.5

#: Standard errors by which an offset must beat others. Tiles have few parts, and one of them alone moves nothing.
_CLEAR_SCENE, _CLEAR_TILE = 2.0, 1.0


@dataclass(frozen=True)
class Offset:
    """What to move labels by (metres east and north) and its standard errors; `undetermined` says why not ("")."""

    east_m: float
    north_m: float
    east_error_m: float
    north_error_m: float
    #: The same in pixels: to the right and down.
    right_px: float
    down_px: float
    right_error_px: float
    down_error_px: float
    undetermined: str

    @property
    def is_significant(self) -> bool:
        """More than half a pixel and more than two standard errors, along some axis."""
        axes = ((self.right_px, self.right_error_px), (self.down_px, self.down_error_px))
        return not self.undetermined and any(abs(moved) > max(0.5, 2 * error) for moved, error in axes)


@dataclass(frozen=True)
class TileOffset:
    """The offset of one tile, and the pixels whose label depends on it."""

    window: Window
    pixels: int
    offset: Offset


@dataclass(frozen=True)
class SceneOffset:
    """The offset of a scene and of its tiles that hold label boundaries on train ground.

    `error_factor`: by how much the tiles' errors were raised to match how far they differ (at least 1).
    """

    scene_id: str
    offset: Offset
    tiles: tuple[TileOffset, ...]
    error_factor: float

    @property
    def determined(self) -> tuple[TileOffset, ...]:
        """Tiles with an offset."""
        return tuple(tile for tile in self.tiles if not tile.offset.undetermined)

    @property
    def spread_m(self) -> tuple[float, float] | None:
        """Robust standard deviation of the tiles' offsets east and north (1.4826 MAD); None below three tiles."""
        if len(self.determined) < 3:
            return None
        found = np.array([(tile.offset.east_m, tile.offset.north_m) for tile in self.determined])
        east, north = 1.4826 * np.median(np.abs(found - np.median(found, axis=0)), axis=0)
        return float(east), float(north)


def measure_offsets(store: SceneStore, split: Split, params: RegistrationParams) -> tuple[SceneOffset, ...]:
    """The registration offset of every scene's labels as they came, in the order of the store."""
    if params.reach_px == 0:
        return ()
    job = partial(measure_scene, split=split, classes=len(store.classes), params=params)
    return tuple(fan_out(job, store.scenes, "registration"))


def measure_scene(scene: Scene, split: Split, classes: int, params: RegistrationParams) -> SceneOffset:
    """The registration offset of one scene, tile by tile.

    Raises:
        SceneError: the scene has no CRS.
    """
    tiles = LabelTiles(scene, split, classes + 1, params)
    sample = tiles.sample()
    levels = min(_LEVELS, int(np.log2(max(1.0, sample.total / (_PER_CELL * max(1, sample.classes))))))
    if levels < 1:
        return SceneOffset(scene.id, _offset(no_peak(TOO_LITTLE), scene.grid, 1.0), (), 1.0)
    codebook = grow(sample.pixels_NB, levels)
    part_px = max(8, min(params.tile_px, *scene.grid.shape) // _PARTS)
    side, columns, blocks = _blocks(scene.grid, part_px)
    log_odds_2KQ = _log_odds(tiles.counts(codebook, side))
    total_MYX = np.zeros((blocks, tiles.offsets, tiles.offsets))
    found = []
    for tile in tiles:
        scores = tile.scores(codebook, log_odds_2KQ, part_px, side)
        rows, cols = tile.part_corners(part_px)
        np.add.at(total_MYX, rows // side * columns + cols // side, scores)
        found.append((tile.window, len(tile.flat), locate(scores, _MOST_ERROR_PX, _CLEAR_TILE)))
    scene_peak = locate(total_MYX, _MOST_ERROR_PX, _CLEAR_SCENE)
    factor = _error_factor([peak for *_, peak in found if not peak.undetermined], scene_peak)
    return SceneOffset(scene.id, _offset(scene_peak, scene.grid, 1.0),
                       tuple(TileOffset(window, pixels, _offset(peak, scene.grid, factor))
                             for window, pixels, peak in found), factor)


def _log_odds(counts_YX2KQ: AnyArray) -> AnyArray:
    """Log p(code | class) / p(code) by colour, under the offset of greatest mutual information, shape 2KQ."""
    counts_YXKQ = counts_YX2KQ.sum(axis=2)
    p = counts_YXKQ / counts_YXKQ.sum(axis=(2, 3), keepdims=True)
    apart = p.sum(axis=3, keepdims=True) * p.sum(axis=2, keepdims=True)
    information = np.sum(p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, apart, 1)), axis=(2, 3))
    best = np.unravel_index(int(information.argmax()), information.shape)
    smooth = counts_YX2KQ[best] + 0.5
    share = smooth / smooth.sum(axis=(1, 2), keepdims=True)
    odds: AnyArray = np.log(share / share.sum(axis=2, keepdims=True) / share.sum(axis=1, keepdims=True))
    return odds


def _blocks(grid: Grid, part_px: int) -> tuple[int, int, int]:
    """Side of the blocks a scene is judged by (pixels), how many lie in a row, and how many in all."""
    def columns_and_count(side: int) -> tuple[int, int]:
        return -(-grid.width // side), -(-grid.height // side) * -(-grid.width // side)

    side = part_px
    while side < _BLOCK_PX and columns_and_count(2 * side)[1] >= _LEAST_BLOCKS:
        side *= 2
    while columns_and_count(side)[1] > _MOST_BLOCKS:
        side *= 2
    return side, *columns_and_count(side)


def _error_factor(tiles: Sequence[Peak], scene: Peak) -> float:
    """How far tiles lie off the scene in units of their error, where that is more than chance.

    Birge's ratio (1932, Phys Rev 40, 207) with the median in place of the mean square.
    """
    if scene.undetermined or len(tiles) < 3:
        return 1.0
    off = [np.abs(peak.offset_px - scene.offset_px) / peak.error_px for peak in tiles]
    return max(1.0, float(np.median(off)) / 0.6745)


def _offset(peak: Peak, grid: Grid, factor: float) -> Offset:
    t, per_metre = grid.transform, np.array(units_per_metre(grid))
    to_metres = np.array([[t.a, t.b], [t.d, t.e]]) / per_metre[:, None]
    metres = to_metres @ peak.offset_px
    error_m = factor * np.sqrt(np.diag(to_metres @ peak.covariance_px2 @ to_metres.T))
    (east, north), (right, down) = metres.tolist(), peak.offset_px.tolist()
    (east_error, north_error), (right_error, down_error) = error_m.tolist(), (factor * peak.error_px).tolist()
    return Offset(east, north, east_error, north_error, right, down, right_error, down_error, peak.undetermined)
