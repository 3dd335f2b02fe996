"""Per-pixel features: the bands, and their means and standard deviations in square windows.

Invalid pixels take no part in a window: its mean and deviation are over its valid pixels only, as at the edge
of the scene. So a caller that declares pixels invalid also keeps them out of their neighbours' features.

Shape legend: H rows, W columns, B bands, F features.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.types import AnyArray, BoolArray, FloatArray, Window


def feature_names(bands: Sequence[str], focal_px: Sequence[int]) -> tuple[str, ...]:
    """Names of the features in the order of `features`."""
    names = list(bands)
    for size in focal_px:
        names += [f"{band}_{what}_{size}px" for what in ("mean", "deviation") for band in bands]
    return tuple(names)


def features(image_HWB: AnyArray, valid_HW: BoolArray, focal_px: Sequence[int]) -> FloatArray:
    """Bands, then for each window size their focal means and deviations: float32 HWF, NaN where not defined.

    Args:
        image_HWB: scene values; whatever stands in invalid pixels is not looked at.
        valid_HW: pixels that count.
        focal_px: odd window sizes; none gives the bands alone.
    """
    values = np.where(valid_HW[..., None], image_HWB, 0).astype(np.float64)
    parts = [np.where(valid_HW[..., None], values, np.nan)]
    for size in focal_px:
        parts += _focal(values, valid_HW, size)
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _focal(values_HWB: npt.NDArray[np.float64], valid_HW: BoolArray,
           size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation over the valid pixels of a window, HWB; NaN in windows without one."""
    share = _window_mean(valid_HW.astype(np.float64), size)
    # A window's share of valid pixels is a whole number over size², but for rounding errors.
    count = np.rint(share * size**2)
    weight = np.divide(size**2, count, out=np.full_like(count, np.nan), where=count > 0)
    bands = np.moveaxis(values_HWB, -1, 0)
    mean = np.stack([_window_mean(band, size) * weight for band in bands], axis=-1)
    square = np.stack([_window_mean(band**2, size) * weight for band in bands], axis=-1)
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def _window_mean(plane_HW: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """Mean over size x size windows in which everything outside the scene is 0."""
    filtered: npt.NDArray[np.float64] = ndimage.uniform_filter(plane_HW, size, mode="constant", cval=0.0)
    return filtered


def window_features(image_HWB: AnyArray, valid_in: Callable[[Window], BoolArray], window: Window, wanted_HW: BoolArray,
                    focal_px: Sequence[int]) -> FloatArray:
    """Features NF of a full-width window's wanted pixels in row-major order, read with the rows they reach into.

    Args:
        image_HWB: the scene's values, may be a memory map.
        valid_in: which pixels of a window count.
        window: full rows of the scene.
        wanted_HW: pixels of the window whose features are wanted.
        focal_px: as in `features`.
    """
    reach, (height, width) = max(focal_px, default=1) // 2, image_HWB.shape[:2]
    top, bottom = max(0, window.row - reach), min(height, window.row + window.height + reach)
    near = Window(top, 0, bottom - top, width)
    values = features(image_HWB[near.slices], valid_in(near), focal_px)
    return values[window.row - top:window.row - top + window.height][wanted_HW]
