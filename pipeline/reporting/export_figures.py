"""The report of an export: its figures, and each finished map with its confidence at a glance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from pipeline.geo.raster_io import describe, open_windows
from pipeline.geo.windows import row_bands
from pipeline.paths import write_json
from pipeline.reporting.figure_style import (
    UNKNOWN,
    class_image,
    color_legend,
    grid_of_axes,
    new_figure,
    readable,
    save,
    show,
    thinning,
)
from pipeline.types import IGNORE_INDEX, UInt8Array

#: Rows read at a time: those of a block of a Cloud Optimized GeoTIFF.
_ROWS = 512


def write_export_report(
    folder: Path, maps: Path, classes: Sequence[str], colors: Sequence[str], summary: Mapping[str, Any]
) -> None:
    """Write metrics.json (`summary`, with class shares by scene) and map_<scene>.png for every map in `maps`."""
    write_json(folder / "metrics.json", summary)
    for file in sorted(maps.glob("*_class.tif")):
        scene = file.name.removesuffix("_class.tif")
        draw_map(folder / f"map_{scene}.png", scene, _thinned(file), _thinned(maps / f"{scene}_confidence.tif"),
                 dict(zip(classes, colors, strict=True)), summary["shares"][scene])


def _thinned(file: Path) -> UInt8Array:
    """Every n-th row and column of a map, read by row bands."""
    height, width = describe(file).grid.shape
    every = thinning((height, width))
    with open_windows(file) as reader:
        bands = [reader.read(window, [1])[0][-window.row % every.step::every.step, every]
                 for window in row_bands(height, width, _ROWS)]
    return np.concatenate(bands)


def draw_map(
    path: Path, scene: str, class_HW: UInt8Array, percent_HW: UInt8Array, colors: Mapping[str, str],
    shares: Mapping[str, float]
) -> None:
    """A class map (with each class's share of the valid pixels) beside its confidence, 50 to 100 percent."""
    figure = new_figure(10, 5.6)
    left, right = grid_of_axes(figure, 1, 2)[0]
    show(left, class_image(class_HW, list(colors.values())), f"{scene}: class")
    grey = colormaps["gray"](np.clip((percent_HW.astype(np.float32) - 50) / 50, 0, 1))[..., :3]
    grey[percent_HW == IGNORE_INDEX] = 1.0
    show(right, grey, f"{scene}: confidence (black up to 50 %, white 100 %)")
    color_legend(figure, {**{f"{readable(n)} {shares[n]:.1%}": c for n, c in colors.items()}, "no data": UNKNOWN})
    save(figure, path)
