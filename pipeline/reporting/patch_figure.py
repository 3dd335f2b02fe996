"""What training sees: patches as the network gets them, their labels, and which pixels count how much.

Shape legend: N patches, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb

from pipeline.patches.batch import Batch, turned
from pipeline.reporting.figure_style import (
    ACCENT,
    INK,
    class_image,
    color_legend,
    grid_of_axes,
    new_figure,
    rgb,
    save,
    show,
)
from pipeline.types import IGNORE_INDEX, AnyArray

#: Patches side by side, and pixels between them.
_ACROSS, _GAP_PX = 8, 4
#: Visible ground without label, in the panel of what counts.
_NO_LABEL = "#c9c9c9"


def draw_patches(file: Path, batch: Batch, channels: Sequence[str], mean: Sequence[float], classes: Sequence[str],
                 colors: Sequence[str]) -> None:
    """Write a contact sheet: for each row of patches their images, labels and weights, turned as in training.

    Args:
        file: the PNG.
        batch: the patches.
        channels: names of the channels; red, green and blue are shown where there are any, else the first three.
        mean: of each channel over the train pixels, which the network sees where a channel is undefined.
        classes: names by id.
        colors: of the classes, by id.
    """
    images, (labels, weight) = batch.image().permute(0, 2, 3, 1).numpy(), batch.targets()
    visible = turned(batch.visible_NHW, batch.turns).numpy()
    filled = np.where(np.isnan(images), np.asarray(mean, np.float32), images)
    size = images.shape[1]
    # One stretch for all, so that patches made brighter look it.
    pictures = rgb(filled.reshape(-1, size, images.shape[-1]), list(channels),
                   visible.reshape(-1, size)).reshape(*visible.shape, 3)
    ids = labels.numpy().astype(np.uint8)
    panels = {"image": pictures, "labels": class_image(ids, colors), "weight": _counts(visible, ids, weight.numpy())}
    rows = -(-len(ids) // _ACROSS)
    across = min(len(ids), _ACROSS)
    figure = new_figure(1.35 * across + 0.3, 1.6 * rows * len(panels) + 0.8)
    axes = grid_of_axes(figure, rows * len(panels), 1)
    for place, (axis,) in enumerate(axes):
        first, kind = place // len(panels) * _ACROSS, list(panels)[place % len(panels)]
        part = panels[kind][first:first + _ACROSS]
        last = first + len(part) - 1
        show(axis, _side_by_side(part, across), f"{kind}, patches {first} to {last}" if kind == "image" else kind)
        axis.set_frame_on(False)
    color_legend(figure, dict(zip(classes, colors, strict=True)) | {
        "weight 1": ACCENT, "visible, no label": _NO_LABEL, "out of sight": INK})
    save(figure, file)


def _counts(visible_NHW: AnyArray, labels_NHW: AnyArray, weight_NHW: AnyArray) -> AnyArray:
    """Weights of labels from white to the accent; visible pixels without label grey, what is out of sight dark."""
    share = np.clip(weight_NHW, 0, 1)[..., None]
    result: AnyArray = (1 - share) * np.ones(3) + share * np.array(to_rgb(ACCENT))
    result[labels_NHW == IGNORE_INDEX] = to_rgb(_NO_LABEL)
    result[~visible_NHW] = to_rgb(INK)
    return result


def _side_by_side(pictures_NHW3: AnyArray, across: int) -> AnyArray:
    """The pictures in a row of `across` places, white between and after them."""
    size = pictures_NHW3.shape[1]
    row = np.ones((size, across * (size + _GAP_PX) - _GAP_PX, 3))
    for place, picture in enumerate(pictures_NHW3):
        row[:, place * (size + _GAP_PX):][:, :size] = picture
    return row
