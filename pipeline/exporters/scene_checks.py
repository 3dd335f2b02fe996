"""Is a scene what a model knows? Data, units and pixel size, before any of it is predicted.

Values are looked at by row bands, so memory stays flat.
"""

import math

import numpy as np

from pipeline.errors import SceneError
from pipeline.geo.nodata import MANY_ZEROS, EdgeArea
from pipeline.geo.windows import row_bands
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.inference.raster_pixels import RasterPixels

#: At least this share of a band's valid pixels must lie in the range the model has seen.
LEAST_INSIDE = 0.5

#: Where nearly all pixels are this much darker than the model's brightest in every band, the unit is another.
FAINT, MOST_FAINT = 1 / 50, 0.99

#: Largest ratio, either way, of the scene's pixel size to that of the training scenes.
PIXEL_RATIO = 2.0


def check_pixels(scene: str, pixels: RasterPixels, facts: ModelFacts, rows: int) -> None:
    """The scene has valid pixels, in the value range and of about the pixel size the model was trained on.

    Zeros that reach its edge, of which nobody has said what they are, are refused as by acquire.

    Args:
        scene: its name, for messages.
        pixels: the open scene, with the model's bands. Units show in bands, not in channels such as ratios of bands.
        facts: the model's.
        rows: rows read at once.

    Raises:
        SceneError: one of these fails.
    """
    _check_pixel_size(scene, pixels, facts)
    low, high = (np.array(v, dtype=np.float32)[:, None] for v in (facts.band_low, facts.band_high))
    limit = np.maximum(np.abs(low), np.abs(high))
    least, largest = np.full(len(low), np.inf), np.full(len(low), -np.inf)
    inside, faint, valid = np.zeros(len(low), dtype=np.int64), 0, 0
    zeros = EdgeArea(pixels.grid.height, pixels.grid.width) if pixels.asks_about_zeros else None
    for window in row_bands(pixels.grid.height, pixels.grid.width, rows):
        image = pixels.read(window)
        if zeros is not None:
            zeros.add((image == 0).all(axis=0))
        values_CN = image[:, ~np.isnan(image[0])]
        if values_CN.size == 0:
            continue
        valid += values_CN.shape[1]
        inside += ((values_CN >= low) & (values_CN <= high)).sum(axis=1)
        faint += int((np.abs(values_CN) < limit * FAINT).all(axis=0).sum())
        least, largest = np.minimum(least, values_CN.min(axis=1)), np.maximum(largest, values_CN.max(axis=1))
    if zeros is not None:
        _check_zeros(scene, zeros.pixels(), pixels.grid.height * pixels.grid.width)
    if valid == 0:
        raise SceneError(
            f"scene {scene} must have pixels with data in all of {list(facts.bands)}: got none in "
            f"{pixels.grid.height}x{pixels.grid.width}; check its nodata value and mask"
        )
    band = int(inside.argmin())
    ranges = (
        f"{facts.bands[band]} runs from {least[band]:.4g} to {largest[band]:.4g} and the model has seen "
        f"{facts.band_low[band]:.4g} to {facts.band_high[band]:.4g}"
    )
    remedy = _remedy(float(largest[band]), facts.band_high[band])
    if inside[band] < LEAST_INSIDE * valid:
        raise SceneError(
            f"scene {scene} must have {LEAST_INSIDE:.0%} of each band's values in the range the model has seen: "
            f"{inside[band] / valid:.1%} are, as {ranges}; {remedy}"
        )
    if faint > MOST_FAINT * valid:
        raise SceneError(
            f"scene {scene} must be brighter than a fiftieth of the model's range in some band: "
            f"{faint / valid:.1%} of its pixels are not, as {ranges}; {remedy}"
        )


def _check_zeros(scene: str, area: int, total: int) -> None:
    if area > MANY_ZEROS * total:
        raise SceneError(
            f"scene {scene} must say what its zeros mean, as it declares no nodata value that pixels can have: "
            f"{area} of {total} pixels ({area / total:.1%}) are 0 in every band of the model and reach its edge; pass "
            "--zeros nodata, or --zeros data"
        )


def _remedy(largest: float, seen: float) -> str:
    """A power of ten as scale, where the largest values differ by about one."""
    steps = round(math.log10(seen / largest)) if largest > 0 and seen > 0 else 0
    if steps == 0:
        return "the model does not suit this scene, unless its bands are named wrongly (--bands)"
    return f"if the scene is in another unit, pass the factor to the model's, such as --scale {10.0**steps:g}"


def _check_pixel_size(scene: str, pixels: RasterPixels, facts: ModelFacts) -> None:
    size = math.sqrt(pixels.grid.pixel_area_m2)
    if not 1 / PIXEL_RATIO <= size / facts.pixel_size_m <= PIXEL_RATIO:
        raise SceneError(
            f"scene {scene} must have pixels of half to twice the {facts.pixel_size_m:.3g} m the model was "
            f"trained on: got {size:.3g} m on the ground; resample the scene, or train on its resolution"
        )
