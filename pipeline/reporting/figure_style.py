"""How figures look: one set of sizes and greys, class colours from the task, and scenes as RGB.

Figures are built without pyplot, so that no global state is touched and no display is needed.

Shape legend: H rows, W columns, B bands.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, UInt8Array

INK = "#222222"
MUTED = "#8a8a8a"
ACCENT = "#1f5fa8"
WRONG = "#c1272d"
RIGHT = "#dfe6df"
UNKNOWN = "#ffffff"

#: Colours of series that are no classes, told apart with any colour vision (Okabe & Ito 2008).
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")

_STYLE: Any = {"font.size": 9, "axes.titlesize": 9, "axes.edgecolor": MUTED, "axes.labelcolor": INK,
               "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
               "axes.spines.right": False, "savefig.dpi": 130, "figure.facecolor": "white"}

#: Longest side of a scene in a figure, pixels.
_LONGEST_PX = 1000


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure in the house style, laid out so that nothing overlaps."""
    with rc_context(_STYLE):
        return Figure(figsize=(width_in, height_in), layout="constrained")


def grid_of_axes(figure: Figure, rows: int, cols: int) -> list[list[Axes]]:
    """Axes in rows and columns, in the house style."""
    with rc_context(_STYLE):
        return [list(row) for row in figure.subplots(rows, cols, squeeze=False)]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; equal figures give equal bytes."""
    with rc_context(_STYLE):
        figure.savefig(path, metadata={"Software": None})


def thinning(shape: tuple[int, ...]) -> slice:
    """Every n-th row (and column) of a raster of that height and width, so that the longest side fits a figure."""
    return slice(None, None, max(1, -(-max(shape[:2]) // _LONGEST_PX)))


def thinned(array_HW: AnyArray) -> AnyArray:
    """Every n-th row and column, so that the longest side fits a figure."""
    every = thinning(array_HW.shape)
    return array_HW[every, every]


def rgb(image_HWB: AnyArray, bands: Sequence[str], valid_HW: BoolArray) -> AnyArray:
    """The scene as people see it, float HW3 from 0 to 1: red, green, blue if named so, else the first bands.

    Each channel is stretched between its 2nd and 98th percentile; invalid pixels are white.
    """
    named = all(band in bands for band in ("red", "green", "blue"))
    chosen = [bands.index(band) if named else min(place, len(bands) - 1)
              for place, band in enumerate(("red", "green", "blue"))]
    result = np.ones((*valid_HW.shape, 3))
    for channel, index in enumerate(chosen):
        values = image_HWB[..., index][valid_HW].astype(np.float64)
        if values.size:
            low, high = np.percentile(values, [2, 98])
            result[..., channel][valid_HW] = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return result


def class_image(classes_HW: UInt8Array, colors: Sequence[str], unknown: str = UNKNOWN) -> AnyArray:
    """Class ids in their colours, float HW3; 255 in the colour of the unknown."""
    lut = np.tile(np.array(to_rgb(unknown)), (256, 1))
    lut[: len(colors)] = [to_rgb(color) for color in colors]
    lut[IGNORE_INDEX] = to_rgb(unknown)
    return lut[classes_HW]


def show(axes: Axes, image_HW3: AnyArray, title: str) -> None:
    """An image without ticks in a thin frame."""
    axes.imshow(image_HW3, interpolation="nearest")
    axes.set_title(title, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)


def color_legend(figure: Figure, entries: Mapping[str, str]) -> None:
    """A legend of named colours below the axes, in as many columns as the figure is wide enough for."""
    handles = [Patch(facecolor=color, edgecolor=MUTED, linewidth=0.5, label=name)
               for name, color in entries.items()]
    entry_inches = 0.9 + 0.11 * max(len(name) for name in entries)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / entry_inches)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def readable(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")
