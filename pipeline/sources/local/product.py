"""What a scene is made of: which band lies in which file, and the one grid they are brought to."""

from dataclasses import dataclass
from pathlib import Path

from pyproj import Transformer

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.params.acquire_local import LocalScene
from pipeline.sources.local.location import box_text, check_plausible, settle_crs


@dataclass(frozen=True)
class Layer:
    """One band of a scene as it lies in a file."""

    name: str
    path: Path
    #: Its place in the file, from 1.
    index: int
    grid: Grid
    dtype: str
    #: The value that means no data besides NaN and absurd ones; None where there is none.
    nodata: float | None
    #: Added to pixels before they are divided by the product's quantification.
    offset: float = 0.0


@dataclass(frozen=True)
class Product:
    """The bands of a scene in order, all on `grid` or to be brought to it."""

    scene: LocalScene
    subject: str
    grid: Grid
    layers: tuple[Layer, ...]
    extras: tuple[Layer, ...] = ()
    #: reflectance = (pixel + offset) / this; 0: pixels stay as they are.
    quantification: float = 0.0
    level: str = ""
    time: str = ""
    #: The product's own scene classification.
    classification: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All band names in file order."""
        return tuple(layer.name for layer in (*self.layers, *self.extras))


def read_layer(scene: LocalScene, path: Path, name: str, subject: str, own_nodata: float | None = None,
               offset: float = 0.0) -> Layer:
    """The one band of a file.

    Raises:
        SceneError: the file cannot be opened, has several bands, or no CRS is known.
    """
    info = raster_io.describe(path)
    if info.count != 1:
        raise SceneError(f"{subject} must have one band a file: {path.name} has {info.count}; name a raster of several "
                         "bands as the scene's path, or split it")
    nodata = scene.nodata if scene.nodata is not None else info.nodata if info.nodata is not None else own_nodata
    grid = with_crs(info.grid, scene, f"{subject}: {path.name}")
    return Layer(name, path, 1, grid, info.dtype, nodata, offset)


def with_crs(grid: Grid, scene: LocalScene, subject: str) -> Grid:
    """The grid with the CRS of the file or of the scene's parameters.

    Raises:
        SceneError: there is none, the two differ, or coordinates cannot be in that CRS.
    """
    setting = f"acquire.local.scenes[{scene.id}].crs"
    crs = settle_crs(grid.crs, scene.crs, subject, setting, SceneError)
    check_plausible(grid.bounds, crs, subject, setting, SceneError)
    return Grid(grid.crs_wkt or crs.to_wkt(), grid.transform, grid.height, grid.width)


def common_grid(scene: LocalScene, layers: tuple[Layer, ...], subject: str) -> Grid:
    """The grid of the named band, or the one grid that all bands share.

    Raises:
        SceneError: grids differ and none is named, or they cannot be brought together: other CRS, rotated, apart.
    """
    named = {layer.name: layer.grid for layer in layers}
    if scene.grid and scene.grid not in named:
        raise SceneError(f"{subject} must take its grid from one of its bands {list(named)}: got {scene.grid!r}; "
                         f"correct grid of this scene in acquire.local.scenes")
    grid = named[scene.grid] if scene.grid else layers[0].grid
    others = {layer.name: layer.grid for layer in layers if not same_grid(layer.grid, grid)}
    if not others:
        return grid
    if strange := [f"{name} {other.crs_name}" for name, other in others.items() if other.crs != grid.crs]:
        raise SceneError(f"{subject} must have its bands in one CRS: {', '.join(strange)}, but the grid is "
                         f"{grid.crs_name}; reproject them")
    if not scene.grid:
        raise SceneError(f"{subject} must say which band's grid it takes where grids differ: "
                         f"{_resolutions(layers)}; set grid of this scene in acquire.local.scenes to a band")
    for name, other in {scene.grid: grid, **others}.items():
        if other.transform.b or other.transform.d:
            raise SceneError(f"{subject} must have bands that run from west to east where grids differ: that of {name} "
                             f"is rotated, geotransform {tuple(other.transform)[:6]}; warp it to a north-up grid")
        if not overlap(grid.bounds, other.bounds):
            raise SceneError(f"{subject} must have bands of one place: {name} with bounds {other.bounds} lies off "
                             f"{scene.grid} with {grid.bounds}; check the files")
    return grid


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether two grids are one, to a millionth of a pixel and however their CRS is written."""
    tolerance = 1e-6 * min(a.pixel_size)
    near = all(abs(p - q) <= tolerance for p, q in zip(a.transform, b.transform, strict=True))
    return a.shape == b.shape and near and (a.crs_wkt == b.crs_wkt or a.crs == b.crs)


def read_extras(scene: LocalScene, root: Path, grid: Grid, taken: tuple[str, ...], subject: str) -> tuple[Layer, ...]:
    """Co-registered rasters named by the scene's `extra`.

    Raises:
        SceneError: not one band, no CRS, off the scene, or a name that is taken.
    """
    extras = []
    for name, given in scene.extra.items():
        what, info = f"extra {name} ({given}) of scene {scene.id}", raster_io.describe(root / given)
        if name in taken:
            raise SceneError(f"{what} must have a name of its own: the scene has such a band; rename it in extra")
        if info.count != 1:
            raise SceneError(f"{what} must have one band: got {info.count}; extract the band")
        if info.grid.crs is None:
            raise SceneError(f"{what} must have a CRS: the file has none; assign it with gdal_edit.py -a_srs")
        check_covers(info.grid, grid, what, whole=False)
        own = grid if same_grid(info.grid, grid) else info.grid
        extras.append(Layer(name, root / given, 1, own, info.dtype, info.nodata))
    return tuple(extras)


def check_covers(other: Grid, grid: Grid, subject: str, whole: bool) -> None:
    """See that another raster covers the scene's grid (`whole`, to a pixel of its own), or at least meets it.

    Raises:
        SceneError: it does not.
    """
    to_other = Transformer.from_crs(grid.crs, other.crs, always_xy=True)
    left, bottom, right, top = to_other.transform_bounds(*grid.bounds)
    width, height = other.pixel_size
    other_left, other_bottom, other_right, other_top = other.bounds
    inside = (left >= other_left - width and right <= other_right + width
              and bottom >= other_bottom - height and top <= other_top + height)
    if not (inside if whole else overlap((left, bottom, right, top), other.bounds)):
        raise SceneError(f"{subject} must {'cover' if whole else 'overlap'} the scene: it is {other.crs_name} with "
                         f"bounds {box_text(other.bounds)}, the scene lies there at "
                         f"{box_text((left, bottom, right, top))}; use a raster of that place")


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, bottom, right, top) share ground."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _resolutions(layers: tuple[Layer, ...]) -> str:
    groups: dict[str, list[str]] = {}
    for layer in layers:
        width, height = layer.grid.pixel_size
        size = f"{width:.6g}" if width == height else f"{width:.6g} x {height:.6g}"
        groups.setdefault(f"in pixels of {size} from ({layer.grid.transform.c:.8g}, {layer.grid.transform.f:.8g})",
                          []).append(layer.name)
    return "; ".join(f"{', '.join(names)} {size}" for size, names in groups.items())
