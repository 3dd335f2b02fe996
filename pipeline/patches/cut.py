"""Windows cut from train ground: raw store values where the channels are the bands, else channels computed on the spot.

Shape legend: B bands, C channels, H rows, W columns.
"""

from collections.abc import Callable

import numpy as np

from pipeline.features.channels import ChannelRecipe
from pipeline.patches.ground import TrainGround
from pipeline.types import IGNORE_INDEX, AnyArray, FloatArray, UInt8Array, Window

#: Changes the bands of a window (float32 BHW in scene units, NaN = invisible) before channels are computed from them.
Change = Callable[[FloatArray], FloatArray]


def cut(ground: TrainGround, window: Window, recipe: ChannelRecipe,
        change: Change | None = None) -> tuple[AnyArray, UInt8Array, UInt8Array, UInt8Array, FloatArray]:
    """Image HWC, ground map, validity, labels and weight (HW) of a window, which may reach off the scene.

    The image is float32 with NaN where invisible if channels are computed or bands are changed. Otherwise it is what
    the store holds, also where training must not look: `masked` says where that is. Arrays may be views of the memory
    maps. Off the scene the ground map is 0 and the label 255.
    """
    inside = _clipped(window, ground.scene.grid.shape)
    codes, valid, labels = ground.views(inside)
    weight = ground.weight_HW[inside.slices]
    if recipe.is_plain and change is None:
        image: AnyArray = ground.image_HWB[inside.slices]
    else:
        image = np.moveaxis(channels(ground, inside, recipe, change), 0, -1)
    if inside == window:
        return image, codes, valid, labels, weight
    return (_padded(image, inside, window, 0), _padded(codes, inside, window, 0), _padded(valid, inside, window, 0),
            _padded(labels, inside, window, IGNORE_INDEX), _padded(weight, inside, window, 0))


def channels(ground: TrainGround, window: Window, recipe: ChannelRecipe,
             change: Change | None = None) -> FloatArray:
    """Channels float32 CHW of a window inside the scene, NaN where invisible.

    What is invisible is hidden before anything is computed, and the window is cut with a halo of the recipe's radius:
    so neither do held-out pixels reach a texture, nor does it matter where a window begins.
    """
    halo = _clipped(grown(window, recipe.radius_px), ground.scene.grid.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # of values that mean nothing
        image: FloatArray = np.moveaxis(ground.image_HWB[halo.slices], -1, 0).astype(np.float32, order="C")
    image[:, ~ground.visible(halo)] = np.nan
    if change is not None:
        image = change(image)
    computed = recipe.compute(image)
    top, left = window.row - halo.row, window.col - halo.col
    inner: FloatArray = computed[:, top:top + window.height, left:left + window.width]
    return inner


def grown(window: Window, margin: int) -> Window:
    """The window with `margin` pixels more on every side."""
    return Window(window.row - margin, window.col - margin, window.height + 2 * margin, window.width + 2 * margin)


def _clipped(window: Window, shape: tuple[int, int]) -> Window:
    """The part of a window that lies in a raster of that shape."""
    row, col = max(0, window.row), max(0, window.col)
    return Window(row, col, min(window.row + window.height, shape[0]) - row,
                  min(window.col + window.width, shape[1]) - col)


def _padded(array: AnyArray, inside: Window, window: Window, fill: float) -> AnyArray:
    result = np.full((window.height, window.width, *array.shape[2:]), fill, dtype=array.dtype)
    top, left = inside.row - window.row, inside.col - window.col
    result[top:top + inside.height, left:left + inside.width] = array
    return result
