"""What is read of each asset: the window of its own pixels that the scene's grid needs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid, parse_crs
from pipeline.geo.remote import RemoteInfo
from pipeline.params.acquire_remote import StacGrid, StacParams
from pipeline.types import Window

if TYPE_CHECKING:
    import pystac

Box = tuple[float, float, float, float]

#: The name of the mask among an item's reads; no band can have it.
MASK = "(mask)"


@dataclass(frozen=True)
class Read:
    """One band of one asset: `name` is the scene's (or MASK), `href` as the item gives it, `index` counts from 1."""

    item: str
    name: str
    key: str
    href: str
    index: int

    @property
    def subject(self) -> str:
        """For messages."""
        return f"asset {self.key} of item {self.item}"


def reads_of(item: "pystac.Item", params: StacParams) -> list[Read]:
    """The bands of an item in the order of params, then its mask.

    Raises:
        SceneError: the item has no such asset.
    """
    wanted = dict(params.bands)
    if params.mask.asset:
        wanted[MASK] = params.mask.asset
    reads = []
    for name, spelled in wanted.items():
        key, _, index = spelled.partition("#")
        if key not in item.assets:
            setting = "mask.asset" if name == MASK else f"bands[{name}]"
            raise SceneError(f"acquire.stac.{setting} must name an asset of item {item.id}: got {key!r}, it has "
                             f"{sorted(item.assets)}")
        if index and not (index.isdigit() and int(index) > 0):
            raise SceneError(f"acquire.stac.bands[{name}] must be an asset key, or key#number with the number of a "
                             f"band from 1: got {spelled!r}")
        href = item.assets[key].get_absolute_href() or item.assets[key].href
        reads.append(Read(item.id, name, key, href, int(index or 1)))
    return reads


def target_grid(infos: Mapping[str, RemoteInfo], params: StacGrid, area: Box) -> Grid:
    """The scene's grid: the area's bounds, on the pixels of the finest band where params ask for no other grid.

    Args:
        infos: band name -> header, of one item.
        params: CRS and resolution asked for.
        area: west, south, east, north in degrees.

    Raises:
        SceneError: a resolution in metres is asked for in a CRS that does not count in metres, or the finest band is
            rotated and so no grid to keep.
    """
    finest = min(infos.values(), key=lambda info: info.grid.pixel_size[0])
    own = finest.grid
    crs = parse_crs(params.crs, "acquire.stac.grid.crs") if params.crs else own.crs
    if crs is None:
        raise SceneError("assets must have a CRS: the finest band has none; use another collection")
    same_crs = crs.equals(own.crs, ignore_axis_order=True)
    resolution = params.resolution_m or (own.pixel_size[0] if same_crs else 0.0)
    if (params.resolution_m or not same_crs) and not _in_metres(crs):
        raise SceneError(f"acquire.stac.grid must have a CRS that counts in metres where resolution_m or crs is set: "
                         f"got {params.crs or own.crs_name}; use a projected one, such as a UTM zone")
    left, bottom, right, top = transformed(area, CRS.from_epsg(4326), crs)
    if same_crs and math.isclose(resolution, own.pixel_size[0]):
        return own.crop(_pixels(own, (left, bottom, right, top), 0))
    if not resolution:
        raise SceneError("acquire.stac.grid.resolution_m must be set where crs differs from the assets' "
                         f"{own.crs_name}: got 0")
    col, row = math.floor(left / resolution), math.ceil(top / resolution)
    width, height = math.ceil(right / resolution) - col, row - math.floor(bottom / resolution)
    return Grid(crs.to_wkt(), Affine(resolution, 0, col * resolution, 0, -resolution, row * resolution), height, width)


def _in_metres(crs: CRS) -> bool:
    return bool(crs.is_projected) and all(axis.unit_conversion_factor == 1 for axis in crs.axis_info[:2])


def source_window(info: RemoteInfo, target: Grid, subject: str) -> Window:
    """The asset's pixels that the grid needs, with a margin for resampling, within the asset.

    Raises:
        SceneError: the asset has no CRS, is rotated, or does not meet the grid.
    """
    grid = info.grid
    if grid.crs is None or target.crs is None:
        raise SceneError(f"{subject} must have a CRS: it has none; use another collection")
    box = transformed(target.bounds, target.crs, grid.crs)
    left, bottom, right, top = box
    width_px, height_px = (right - left) / grid.pixel_size[0], (top - bottom) / grid.pixel_size[1]
    ratio = max(1.0, width_px / target.width, height_px / target.height)
    window = _pixels(grid, box, math.ceil(2 * ratio) + 2)
    first_row, first_col = max(window.row, 0), max(window.col, 0)
    height = min(window.row + window.height, grid.height) - first_row
    width = min(window.col + window.width, grid.width) - first_col
    if height <= 0 or width <= 0:
        raise SceneError(f"{subject} must overlap the area, as its item's footprint does: it covers {grid.bounds} in "
                         f"{grid.crs_name}, the area is {box}; use another collection or area")
    return Window(first_row, first_col, height, width)


def halo(grid: Grid, distance_m: float) -> tuple[int, int]:
    """Rows and columns that reach a distance on the ground."""
    if not distance_m:
        return 0, 0
    width, height = grid.ground_pixel_m
    return math.ceil(distance_m / height), math.ceil(distance_m / width)


def padded(grid: Grid, margin: tuple[int, int]) -> Grid:
    """The grid with rows and columns added on every side."""
    rows, cols = margin
    return grid.crop(Window(-rows, -cols, grid.height + 2 * rows, grid.width + 2 * cols))


def transformed(box: Box, source: CRS, target: CRS) -> Box:
    """The bounds of a box in another CRS, its edges densified.

    Raises:
        SceneError: the box does not lie where the target CRS is defined.
    """
    if source.equals(target, ignore_axis_order=True):
        return box
    try:
        found = Transformer.from_crs(source, target, always_xy=True).transform_bounds(*box, densify_pts=21)
    except ProjError as error:
        raise SceneError(f"the area {box} must lie where {target.name} is defined: {error}") from error
    if not all(map(math.isfinite, found)):
        raise SceneError(f"the area {box} must lie where {target.name} is defined: its bounds there are {found}")
    left, bottom, right, top = found
    return left, bottom, right, top


def _pixels(grid: Grid, box: Box, margin: int) -> Window:
    """The window of a north-up grid that holds a box, which may reach beyond the grid."""
    t = grid.transform
    if t.b or t.d or t.e >= 0:
        raise SceneError(f"assets must have north-up grids to be read in windows: got transform {tuple(t)[:6]}; "
                         "use another collection")
    left, bottom, right, top = box
    near = 1e-6  # of a pixel: an edge that lies on a pixel's edge stays there
    col, row = math.floor((left - t.c) / t.a + near), math.floor((top - t.f) / t.e + near)
    last_col, last_row = math.ceil((right - t.c) / t.a - near), math.ceil((bottom - t.f) / t.e - near)
    return Window(row - margin, col - margin, last_row - row + 2 * margin, last_col - col + 2 * margin)
