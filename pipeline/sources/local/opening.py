"""Find out what a scene of the user's is made of: one raster, a folder of bands, or a SAFE folder. Reads no pixels."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.nodata import fitting_nodata
from pipeline.params.acquire_local import LocalScene
from pipeline.sources.local.names import band_of_stem, check_bands, check_different, select
from pipeline.sources.local.product import Layer, Product, common_grid, read_extras, read_layer, same_grid, with_crs
from pipeline.sources.local.safe import Safe, is_safe, read_safe

#: What counts as a raster in a folder of bands.
RASTERS = (".tif", ".tiff", ".vrt", ".img", ".jp2", ".nc", ".asc", ".png")
#: The value that means no data in Sentinel-2 products.
_SAFE_NODATA = 0.0


def open_scene(scene: LocalScene, root: Path, needed: Sequence[str]) -> Product:
    """The bands of a scene, their files and the grid they are brought to.

    Args:
        scene: its parameters.
        root: what relative paths start from.
        needed: the task's bands, which must be among them.

    Raises:
        SceneError: the scene cannot be used as its parameters say.
    """
    path, subject = root / scene.path, f"scene {scene.id} ({scene.path})"
    safe = None
    if not path.is_dir():
        layers = _file_layers(scene, path, subject)
    elif is_safe(path):
        safe = _checked(read_safe(path, subject), scene, subject)
        layers = _safe_layers(scene, safe, subject)
    else:
        layers = _folder_layers(scene, path, root / scene.mask.path if scene.mask.path else None, subject)
    names = tuple(layer.name for layer in layers)
    grid = common_grid(scene, layers, subject)
    layers = tuple(replace(la, grid=grid) if same_grid(la.grid, grid) else la for la in layers)
    extras = read_extras(scene, root, grid, names, subject)
    check_bands((*names, *scene.extra), needed, subject)
    _warn_of_nodata(scene, layers, subject)
    return Product(scene, subject, grid, layers, extras, safe.quantification if safe else scene.quantification,
                   safe.level if safe else scene.level, scene.time or (safe.time if safe else ""),
                   safe.classification if safe else None)


def _warn_of_nodata(scene: LocalScene, layers: Sequence[Layer], subject: str) -> None:
    """Settings about missing pixels that change nothing."""
    types = sorted({layer.dtype for layer in layers})
    if scene.nodata is not None and all(fitting_nodata(scene.nodata, np.dtype(t)) is None for t in types):
        warnings.warn(f"nodata {scene.nodata:g} of {subject} marks no pixel: NaN, infinity and +-3.4e38 never count as "
                      f"data, and other values must be ones that {' or '.join(types)} pixels can have", stacklevel=3)
    if scene.zeros != "refuse" and all(layer.nodata == 0 for layer in layers):
        warnings.warn(f"zeros: {scene.zeros} of {subject} has no effect: its nodata value is 0", stacklevel=3)


def check_levels(levels: dict[str, str], mixed: bool) -> None:
    """See that scenes (id -> "L1C", "L2A" or "", unsaid) are of one processing level.

    Raises:
        SceneError: they are not, and `mixed` does not allow it.
    """
    if mixed or len(set(levels.values())) <= 1:
        return
    listed = ", ".join(f"{id_} is {level or 'of no declared level'}" for id_, level in levels.items())
    raise SceneError(f"scenes must be of one processing level, or a model learns the atmosphere: {listed}; declare "
                     "level for each scene, leave some out, or set acquire.mixed_levels: true")


def _file_layers(scene: LocalScene, path: Path, subject: str) -> tuple[Layer, ...]:
    info = raster_io.describe(path)
    if scene.files:
        raise SceneError(f"{subject} must be a folder where files names its bands: it is one file; remove files")
    if info.count == 0:
        raise SceneError(f"{subject} must have bands: GDAL finds none in it, as in a container of several rasters; "
                         "name one of its rasters, or a SAFE folder")
    names = _band_names(scene, info.bands, subject)
    if scene.grid:
        warnings.warn(f"grid of {subject} has no effect: all its bands lie on one grid", stacklevel=2)
    nodatas = info.nodatas if scene.nodata is None else [scene.nodata] * info.count
    grid = with_crs(info.grid, scene, subject)
    return tuple(Layer(name, path, i, grid, dtype, nodata, scene.offset)
                 for i, (name, dtype, nodata) in enumerate(zip(names, info.dtypes, nodatas, strict=True), 1))


def _band_names(scene: LocalScene, described: Sequence[str | None], subject: str) -> tuple[str, ...]:
    names = scene.bands or tuple(b or "" for b in described)
    remedy = f"list all {len(described)} names in file order under bands of this scene in acquire.local.scenes"
    if len(names) != len(described):
        raise SceneError(f"{subject} must have a name for each band: it has {len(described)} bands, {len(names)} names "
                         f"are given; {remedy}")
    if unnamed := [i for i, name in enumerate(names, 1) if not name]:
        raise SceneError(f"{subject} must have named bands: {len(unnamed)} of {len(names)} have no description; "
                         f"{remedy}")
    check_different(names, subject, remedy)
    return names


def _folder_layers(scene: LocalScene, folder: Path, mask: Path | None, subject: str) -> tuple[Layer, ...]:
    """Bands of a folder: as `files` names them, else every raster that is no mask and no quality layer, by its stem."""
    if scene.files:
        return tuple(read_layer(scene, folder / file, name, subject, offset=scene.offset)
                     for name, file in scene.files.items())
    paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in RASTERS and p != mask]
    named = [(band, p) for p in paths if (band := band_of_stem(p.stem))]
    if not named:
        raise SceneError(f"{subject} must hold single-band rasters ({', '.join(RASTERS)}): found none; check path")
    doubled = [p.name for band, p in named if sum(band == other for other, _ in named) > 1]
    check_different([band for band, _ in named], subject, f"they come from {doubled}; choose with files of this scene")
    files = dict(named)
    return tuple(read_layer(scene, files[name], name, subject, offset=scene.offset)
                 for name in select(tuple(files), scene.bands, subject))


def _checked(safe: Safe, scene: LocalScene, subject: str) -> Safe:
    for field, given in (("files", scene.files), ("offset", scene.offset), ("quantification", scene.quantification)):
        if given:
            raise SceneError(f"{subject} must take its {field} from the product itself: got {given}; remove {field} of "
                             "this scene from acquire.local.scenes")
    if scene.level and scene.level != safe.level:
        raise SceneError(f"{subject} must be of the level it declares: level is {scene.level}, its metadata says "
                         f"{safe.level}; correct level, or use the other product")
    return safe


def _safe_layers(scene: LocalScene, safe: Safe, subject: str) -> tuple[Layer, ...]:
    names = select(tuple(safe.files), scene.bands, subject)
    return tuple(read_layer(scene, path, name, subject, _SAFE_NODATA, safe.offsets[name])
                 for name, path in safe.pick(names, scene.grid).items())
