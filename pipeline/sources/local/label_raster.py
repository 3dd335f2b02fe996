"""Labels that come as a raster: pixels of equal class traced to polygons, tile by tile.

Tiles are traced in pixel coordinates, whose corners are whole numbers, and what a tile's edge has cut is joined again;
so the polygons are those of the whole raster, while only a tile of it is in memory.
"""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from tqdm import tqdm

from pipeline.errors import LabelError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.geo.vector_io import trace
from pipeline.geo.windows import row_bands
from pipeline.params.acquire_local import VectorParams
from pipeline.sources.local.crosswalk import check_mapped, value_key
from pipeline.sources.local.location import check_plausible, settle_crs
from pipeline.types import AnyArray, UInt8Array, Window

_ROWS = 256
_TILE_PX = 1024
#: Pixels without a label while they are traced.
_NONE = 255


def read_grid(given: VectorParams, path: Path, subject: str, setting: str) -> Grid:
    """The grid of a raster of classes, after all its values have been looked at.

    Raises:
        LabelError: several bands, no CRS, or a value nobody mapped; the file's own nodata value needs no mapping.
    """
    info = raster_io.describe(path)
    if info.count != 1:
        raise LabelError(f"{subject} must have one band of class values: got {info.count}; extract the band")
    crs = settle_crs(info.grid.crs, given.crs, subject, f"{setting}.crs", LabelError)
    check_plausible(info.grid.bounds, crs, subject, f"{setting}.crs", LabelError)
    counts: dict[str, int] = {}
    for window in row_bands(info.grid.height, info.grid.width, _ROWS):
        pixels = raster_io.read(path, window)
        known = has_data(pixels, info.nodata)
        for value, n in zip(*np.unique(pixels, return_counts=True), strict=True):
            key = value_key(value.item())
            if key in given.classes or known[pixels == value].any():
                counts[key] = counts.get(key, 0) + int(n)
    check_mapped(counts, given.classes, subject, f"{setting}.classes")
    return Grid(info.grid.crs_wkt or crs.to_wkt(), info.grid.transform, info.grid.height, info.grid.width)


def translate(pixels: AnyArray, ids: Mapping[str, int], unknown: int) -> UInt8Array:
    """Values of any type as class ids: `ids` by value key, `unknown` for values that have none; same shape."""
    values, inverse = np.unique(pixels, return_inverse=True)
    table = np.array([ids.get(value_key(v.item()), unknown) for v in values], dtype=np.uint8)
    translated: UInt8Array = table[inverse].reshape(pixels.shape)
    return translated


def trace_labels(given: VectorParams, path: Path, grid: Grid, scenes: Mapping[str, Grid],
                 unknown: str = "") -> gpd.GeoDataFrame:
    """Polygons of equal class where the raster meets scenes, with the column `class`, from top to bottom.

    Args:
        given: the parameters with the crosswalk.
        path: the raster.
        grid: its grid.
        scenes: scene id -> grid.
        unknown: class of unmapped nodata; "" leaves it out.
    """
    names = sorted({*given.classes.values(), *([unknown] if unknown else [])})
    ids = {key: names.index(name) for key, name in given.classes.items()}
    tiles = _tiles(grid, scenes)
    shapes: list[AnyArray] = []
    classes: list[AnyArray] = []
    for tile in tqdm(tiles, desc="trace labels", unit="tile", disable=None):
        pixels = translate(raster_io.read(path, tile), ids, names.index(unknown) if unknown else _NONE)
        found = list(trace(pixels, Grid("", Affine.translation(tile.col, tile.row), *pixels.shape), pixels != _NONE))
        shapes.append(np.array([shape for shape, _ in found], dtype=object))
        classes.append(np.array([value for _, value in found], dtype=np.int64))
    joined, values = _join(np.concatenate([np.zeros(0, dtype=object), *shapes]),
                           np.concatenate([np.zeros(0, dtype=np.int64), *classes]), tiles)
    ground = shapely.transform(joined, lambda xy: np.stack(grid.transform @ (xy[:, 0], xy[:, 1]), axis=-1))
    return gpd.GeoDataFrame({"class": [names[v] for v in values]}, geometry=ground, crs=grid.crs)


def _tiles(grid: Grid, scenes: Mapping[str, Grid]) -> list[Window]:
    """Tiles of the raster that meet a scene, row by row."""
    boxes = [_pixel_box(grid, scene) for scene in scenes.values()]
    tiles = []
    for row in range(0, grid.height, _TILE_PX):
        for col in range(0, grid.width, _TILE_PX):
            tile = Window(row, col, min(_TILE_PX, grid.height - row), min(_TILE_PX, grid.width - col))
            if any(left < col + tile.width and right > col and top < row + tile.height and bottom > row
                   for left, top, right, bottom in boxes):
                tiles.append(tile)
    return tiles


def _pixel_box(grid: Grid, scene: Grid) -> tuple[float, float, float, float]:
    """The scene's box in the raster's pixels: left, top, right, bottom."""
    bounds = Transformer.from_crs(scene.crs, grid.crs, always_xy=True).transform_bounds(*scene.bounds)
    corners = np.array([~grid.transform @ (x, y) for x in bounds[::2] for y in bounds[1::2]])
    left, top = corners.min(axis=0)
    right, bottom = corners.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _join(shapes: AnyArray, values: AnyArray, tiles: list[Window]) -> tuple[AnyArray, AnyArray]:
    """Polygons whole again where tiles have cut them, ordered by their upper left corner."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(shapes) == 0:
        return shapes, values
    bounds = shapely.bounds(shapes)
    rows = {float(t.row) for t in tiles} | {float(t.row + t.height) for t in tiles}
    cols = {float(t.col) for t in tiles} | {float(t.col + t.width) for t in tiles}
    cut = np.flatnonzero(np.isin(bounds[:, [1, 3]], sorted(rows)).any(axis=1)
                         | np.isin(bounds[:, [0, 2]], sorted(cols)).any(axis=1))
    left, right = shapely.STRtree(shapes[cut]).query(shapes[cut], predicate="intersects")
    pairs = (left < right) & (values[cut[left]] == values[cut[right]])
    left, right = cut[left[pairs]], cut[right[pairs]]
    side = shapely.length(shapely.intersection(shapes[left], shapes[right])) > 0  # not by a corner only
    left, right = left[side], right[side]
    count = len(shapes)
    _, group = connected_components(coo_array((np.ones(len(left)), (left, right)), shape=(count, count)),
                                    directed=False)
    first = np.unique(group, return_index=True)[1]
    whole = shapes[first].copy()
    several = np.bincount(group) > 1
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    for g in np.flatnonzero(several):
        whole[g] = shapely.union_all(shapes[members[g]])
    corner = shapely.bounds(whole)
    ranked = np.lexsort((values[first], corner[:, 0], corner[:, 1]))
    return whole[ranked], values[first][ranked]
