"""Copy the user's scenes: bands on one grid, nodata and masks made plain, digital numbers made reflectance.

Shape legend: H rows, W columns, B bands.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.aligned import AlignedReader, open_aligned
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import MANY_ZEROS, EdgeArea, fitting_nodata
from pipeline.geo.windows import row_bands
from pipeline.sources.local.masks import Masked, open_mask
from pipeline.sources.local.product import Layer, Product
from pipeline.types import AnyArray, BoolArray, Window

#: Rows of a strip in the file that is written.
_STRIP_ROWS = 64
#: Pixels that are worked on at once, so that memory does not grow with a scene's width.
_PIXELS = 2**19


def copy_scene(product: Product, root: Path, out: Path, needed: Sequence[str], reflectance_scale: float) -> None:
    """Write a scene as a deflated GeoTIFF with band names and CRS, all bands on its one grid.

    With a quantification, pixels become float32 (pixel + offset) / quantification * `reflectance_scale`, NaN where
    there is no data; extra bands keep their units. Without, they stay as they are: floating-point pixels without data
    become NaN, integer ones the declared nodata value (without one, the least or largest value of the type that is
    free). Bands of different types become float32.

    Args:
        product: what the scene is made of.
        root: what the mask's path starts from.
        out: the GeoTIFF.
        needed: the task's bands; pixels must have data in all of them to count.
        reflectance_scale: pixel value of reflectance 1 in what is written.

    Raises:
        SceneError: a file cannot be read, the mask cannot be used, no pixel has data, zeros are many and undeclared,
            or no value is free for missing pixels.
    """
    grid, columns = product.grid, [product.names.index(b) for b in needed]
    dtype = _result_dtype(product)
    complete, zeros = 0, EdgeArea(grid.height, grid.width) if _asks_about_zeros(product) else None
    with _open(product, root, dtype) as bands:
        nodata = float("nan") if dtype.kind == "f" else _integer_nodata(product, bands, dtype)
        profile = {"compress": "deflate", "blockysize": str(_STRIP_ROWS)}
        with raster_io.create(out, grid, dtype, product.names, nodata, profile=profile) as writer:
            for window in _row_bands(grid):
                pixels, data = bands.read(window)
                complete += int(data[..., columns].all(axis=-1).sum())
                if zeros is not None:
                    own = slice(0, len(product.layers))
                    zeros.add(_all_zero(pixels[..., own]) & data[..., own].all(axis=-1))
                pixels = _reflectance(pixels, product, reflectance_scale)
                writer.write(pixels if nodata is None else np.where(data, pixels, dtype.type(nodata)), window)
            if zeros is not None:
                _check_zeros(zeros.pixels(), product)
            _check_filled(complete, product)


class _Bands:
    """Reads all bands of a product on its grid, with what is left out already taken out."""

    def __init__(self, product: Product, readers: list[AlignedReader], masked: Masked | None,
                 dtype: np.dtype[np.generic]) -> None:
        self._product, self._readers, self._masked, self._dtype = product, readers, masked, dtype

    def may_miss(self) -> bool:
        """Whether any pixel of an integer scene can be without data."""
        return (self._masked is not None or self._product.scene.zeros == "nodata"
                or any(reader.may_miss() for reader in self._readers))

    def read(self, window: Window) -> tuple[AnyArray, BoolArray]:
        """Digital numbers HWB in the result's dtype, and where they hold data, HWB."""
        parts = [reader.read(window) for reader in self._readers]
        pixels = np.concatenate([p.astype(self._dtype, copy=False) for p, _ in parts], axis=-1)
        data = np.concatenate([d for _, d in parts], axis=-1)
        scene, own = self._product.scene, slice(0, len(self._product.layers))
        if _zero_is_missing(self._product):
            data[..., own] &= pixels[..., own] != 0
        elif scene.zeros == "nodata":
            data[..., own] &= ~_all_zero(pixels[..., own])[..., np.newaxis]
        if self._masked is not None:
            data &= ~self._masked(window)[..., np.newaxis]
        return pixels, data


@contextmanager
def _open(product: Product, root: Path, dtype: np.dtype[np.generic]) -> Iterator[_Bands]:
    scene = product.scene
    # Zeros that mean nothing must not mix with others, so they are kept out of resampling too.
    zeros = 0.0 if scene.zeros == "nodata" or _zero_is_missing(product) else None
    working = "float32" if dtype == np.float32 else None
    with ExitStack() as stack:
        readers = []
        for (path, own_grid, nodata, _), group in groupby(product.layers, key=_alike):
            indexes = [layer.index for layer in group]
            readers.append(stack.enter_context(open_aligned(path, indexes, product.grid, own_grid, scene.resampling,
                                                            nodata, working, zeros)))
        for extra in product.extras:
            readers.append(stack.enter_context(open_aligned(extra.path, [1], product.grid, extra.grid, "bilinear",
                                                            extra.nodata, working)))
        masked = stack.enter_context(open_mask(product, root))
        yield _Bands(product, readers, masked, dtype)


def _row_bands(grid: Grid) -> Iterator[Window]:
    strips = min(4, max(1, _PIXELS // (grid.width * _STRIP_ROWS)))
    return row_bands(grid.height, grid.width, strips * _STRIP_ROWS)


def _alike(layer: Layer) -> tuple[Path, Grid, float | None, str]:
    """What bands must share to be read in one go."""
    return layer.path, layer.grid, layer.nodata, layer.dtype


def _result_dtype(product: Product) -> np.dtype[np.generic]:
    types = {layer.dtype for layer in (*product.layers, *product.extras)}
    return np.dtype(types.pop()) if len(types) == 1 and not product.quantification else np.dtype(np.float32)


def _zero_is_missing(product: Product) -> bool:
    """Whether 0 is no data in each band by itself: a digital number of 0 is no measurement."""
    return product.quantification > 0 and product.scene.zeros != "data"


def _all_zero(pixels_HWB: AnyArray) -> BoolArray:
    zero: BoolArray = (pixels_HWB == 0).all(axis=-1)
    return zero


def _reflectance(pixels_HWB: AnyArray, product: Product, scale: float) -> AnyArray:
    """Digital numbers of the scene's own bands as reflectance in scene units; extra bands as they are."""
    if product.quantification:
        with np.errstate(over="ignore", invalid="ignore"):
            for i, layer in enumerate(product.layers):
                band = pixels_HWB[..., i].astype(np.float64)
                pixels_HWB[..., i] = (band + layer.offset) / product.quantification * scale
    return pixels_HWB


def _integer_nodata(product: Product, bands: _Bands, dtype: np.dtype[np.generic]) -> float | None:
    """The one declared nodata value; else one that no pixel with data has, if any pixel is without data."""
    declared = {fitting_nodata(layer.nodata, dtype) for layer in (*product.layers, *product.extras)}
    if len(declared) == 1 and (value := next(iter(declared))) is not None:
        return value
    if not bands.may_miss():
        return None
    limits = np.iinfo(dtype.name)
    free: set[float] = {limits.min, limits.max, *(v for v in declared if v is not None)}
    missing = False
    for window in _row_bands(product.grid):
        pixels, data = bands.read(window)
        missing = missing or not data.all()
        free -= {value for value in free if (pixels[data] == value).any()}
    if missing and not free:
        raise SceneError(f"{product.subject} must have a value free for pixels without data, which a mask leaves out: "
                         f"{limits.min} and {limits.max} both occur in its {dtype.name} pixels; declare a nodata value "
                         "in the file, or convert it to a wider type")
    return min(free) if missing else None


def _asks_about_zeros(product: Product) -> bool:
    undeclared = all(fitting_nodata(layer.nodata, np.dtype(layer.dtype)) is None for layer in product.layers)
    return undeclared and not product.quantification and product.scene.zeros == "refuse"


def _check_zeros(area: int, product: Product) -> None:
    total = product.grid.height * product.grid.width
    if area > MANY_ZEROS * total:
        values = sorted({f"{layer.nodata:g}" for layer in product.layers if layer.nodata is not None})
        why = f"its nodata, {', '.join(values)}, does not" if values else "it declares no nodata"
        raise SceneError(f"{product.subject} must say what its zeros mean, as {why}: {area} of {total} "
                         f"pixels ({100 * area / total:.1f} %) are 0 in every band and reach its edge; set zeros of "
                         "this scene in acquire.local.scenes to nodata or data")


def _check_filled(complete: int, product: Product) -> None:
    total = product.grid.height * product.grid.width
    if complete == 0:
        values = sorted({str(layer.nodata) for layer in product.layers})
        raise SceneError(f"{product.subject} must have pixels with data in all bands of the task: all {total} are "
                         f"nodata (declared {', '.join(values)}), masked or NaN; use another scene, or correct its "
                         "nodata value")
    if complete < total / 100:
        warnings.warn(f"{product.subject} has data in all bands of the task at only {complete} of {total} pixels",
                      stacklevel=2)
