"""How far each polygon is trusted: whether its pixels look like those of the other polygons of its class.

Pixels become codes (features.codebook). What a class looks like is the histogram of codes over its polygons, each
counted at most as `_MOST_PX` pixels so that no large one speaks for all, and *without the polygon that is judged*, so
that none vouches for itself. A pixel agrees by the posterior of its polygon's class under equal priors, against all
other classes and the ground outside. A polygon's agreement is the mean over its pixels, small polygons drawn towards
their class. Its factor rises from `floor` at what ground of the other classes would reach to 1 at its class's median,
for classes differ in how distinct they are: between the two it estimates the share of pixels that are of the class.

What this means for the split: the histograms are drawn from the whole scene, as a threshold by Otsu is, before anybody
knows what will be held out. So the weight of train ground depends a little on image and outlines of held-out ground.
That is a statistic of preparation, and the reason why the default is `constant`. Weights are fixed before the store is
written: whatever stands on held-out ground in the store changes none of them.

Shape legend: H rows, W columns, B bands, N pixels, P polygons, K classes, Q codes.
"""

from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.features.codebook import Codebook, grow
from pipeline.geo.burn import PolygonLayer
from pipeline.geo.nodata import has_data
from pipeline.geo.raster_io import describe, open_windows
from pipeline.geo.windows import row_bands
from pipeline.params.refine_labels import ConfidenceParams
from pipeline.types import AnyArray, Window

Factors = npt.NDArray[np.float64]

#: Rows read at a time, and pixels the codebook is grown from.
_ROWS, _SAMPLE = 256, 40_000

#: Pixels by which a polygon counts in its class at most, and pixels of its class that a polygon is blended with.
_MOST_PX, _BLEND_PX = 500, 20

#: Pixels a scene's polygons must have for each code.
_PER_CODE, _LEVELS = 40, 6


def polygon_confidence(scene: Path, frame: gpd.GeoDataFrame, params: ConfidenceParams) -> Factors:
    """Factor of each polygon's confidence, from `params.floor` to 1, shape P; all 1 with the method `constant`.

    Polygons of "ignore", without a pixel that has data, or alone in their class have nothing to be judged by: 1.

    Args:
        scene: the raster; all its bands take part.
        frame: disjoint polygons in the scene's CRS with the column class.
        params: method and floor.

    Raises:
        SceneError: GDAL cannot open the scene.
    """
    counts_PQ = _count(scene, frame) if params.method == "spectral" and len(frame) else None
    if counts_PQ is None:
        return np.ones(len(frame))
    return spectral_factors(counts_PQ, frame["class"].to_numpy(), params.floor)


def spectral_factors(counts_PQ: AnyArray, classes: AnyArray, floor: float) -> Factors:
    """Factor of each polygon's confidence, shape P.

    Args:
        counts_PQ: pixels by polygon and code; one more row at the end is the ground outside all polygons.
        classes: class of each polygon, shape P; "ignore" is no class.
        floor: the least factor.
    """
    pixels = counts_PQ.sum(axis=1)
    share = counts_PQ * np.minimum(1, _MOST_PX / np.maximum(pixels, 1))[:, None]
    names = sorted(set(classes) - {"ignore"})
    mass_KQ = np.array([share[:-1][classes == name].sum(axis=0) for name in names] + [share[-1]])
    overall = counts_PQ.sum(axis=0) / max(1, counts_PQ.sum())
    present = mass_KQ.sum(axis=1) > 0
    density_KQ = np.where(present[:, None], _density(mass_KQ, overall), 0)
    factors: Factors = np.ones(len(classes))
    for k, name in enumerate(names):
        own = np.flatnonzero((classes == name) & (pixels[:-1] > 0))
        rivals = np.delete(density_KQ, k, axis=0)[np.delete(present, k)]
        if len(own) < 2 or len(rivals) == 0:
            continue
        without = _density(mass_KQ[k] - share[own], overall)
        posterior = without / (without + rivals.sum(axis=0))
        agreed = (counts_PQ[own] * posterior).sum(axis=1) / pixels[own]
        typical, foreign = float(np.median(agreed)), float((posterior @ rivals.mean(axis=0)).mean())
        blended = (agreed * pixels[own] + typical * _BLEND_PX) / (pixels[own] + _BLEND_PX)
        if typical > foreign:
            factors[own] = floor + (1 - floor) * np.clip((blended - foreign) / (typical - foreign), 0, 1)
    return factors


def _density(mass: AnyArray, overall_Q: AnyArray) -> AnyArray:
    """Share of each code, with one pixel a code spread as over the whole scene so that none is impossible."""
    prior = len(overall_Q) * overall_Q
    smooth = mass + prior
    density: AnyArray = smooth / smooth.sum(axis=-1, keepdims=True)
    return density


def _count(scene: Path, frame: gpd.GeoDataFrame) -> AnyArray | None:
    """Pixels by polygon and code, and those outside in the last row; None where there are too few for two codes.

    A polygon's pixels are those whose neighbours are its own too, or all of them where it has no such.
    """
    info = describe(scene)
    layer = PolygonLayer.of(frame.geometry, info.grid)
    rows = len(frame) + 1
    cells = info.grid.height * info.grid.width
    sample = np.concatenate([pixels[:: max(1, cells // _SAMPLE)] for _, _, pixels in _bands(scene, layer)])
    levels = min(_LEVELS, int(np.log2(max(1, len(sample) // _PER_CODE))))
    if levels < 1:
        return None
    codebook = grow(sample, levels)
    inner, every = np.zeros((rows, codebook.codes)), np.zeros((rows, codebook.codes))
    for place, core, pixels in _bands(scene, layer):
        cell = (place - 1) % rows * codebook.codes + _encode(codebook, pixels)
        every += np.bincount(cell, minlength=every.size).reshape(every.shape)
        inner += np.bincount(cell[core], minlength=inner.size).reshape(inner.shape)
    judged: AnyArray = np.where(inner.sum(axis=1, keepdims=True) > 0, inner, every)
    return judged


def _encode(codebook: Codebook, pixels_NB: AnyArray) -> npt.NDArray[np.intp]:
    return codebook.encode(pixels_NB).astype(np.intp)


def _bands(scene: Path, layer: PolygonLayer) -> Iterator[tuple[npt.NDArray[np.intp], AnyArray, AnyArray]]:
    """Row bands of pixels with data: place of their polygon plus 1 (0 outside), whether they are inner, values NB."""
    info = describe(scene)
    height, width = info.grid.shape
    with open_windows(scene) as reader:
        for window in row_bands(height, width, _ROWS):
            pixels = np.moveaxis(reader.read(window, range(1, info.count + 1)), 0, -1)
            top, bottom = max(0, window.row - 1), min(height, window.row + window.height + 1)
            place = layer.uppermost(Window(top, 0, bottom - top, width))
            first = ndimage.minimum_filter(place, 3, mode="nearest")
            last = ndimage.maximum_filter(place, 3, mode="nearest")
            own = slice(window.row - top, window.row - top + window.height)
            valid = np.asarray(has_data(pixels, info.nodata).all(axis=-1))
            yield place[own][valid].astype(np.intp), (first == last)[own][valid], pixels[valid]
