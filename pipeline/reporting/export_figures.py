"""The report of an export: its figures, and each finished map with its confidence at a glance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from pipeline.geo.raster_io import read
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
    thinned,
)
from pipeline.types import IGNORE_INDEX, UInt8Array


def write_export_report(
    folder: Path, maps: Path, classes: Sequence[str], colors: Sequence[str], summary: Mapping[str, Any]
) -> None:
    """Write metrics.json (`summary`) and map_<scene>.png for every `<scene>_class.tif` in `maps`."""
    write_json(folder / "metrics.json", summary)
    for file in sorted(maps.glob("*_class.tif")):
        scene = file.name.removesuffix("_class.tif")
        draw_map(folder / f"map_{scene}.png", scene, read(file), read(maps / f"{scene}_confidence.tif"),
                 dict(zip(classes, colors, strict=True)))


def draw_map(
    path: Path, scene: str, class_HW: UInt8Array, percent_HW: UInt8Array, colors: Mapping[str, str]
) -> None:
    """A class map (with each class's share of the valid pixels) beside its confidence, 50 to 100 percent."""
    counts = np.bincount(class_HW.ravel(), minlength=256)[: len(colors)]
    shares = counts / max(counts.sum(), 1)
    figure = new_figure(10, 5.6)
    left, right = grid_of_axes(figure, 1, 2)[0]
    show(left, class_image(thinned(class_HW), list(colors.values())), f"{scene}: class")
    shown = thinned(percent_HW)
    grey = colormaps["gray"](np.clip((shown.astype(np.float32) - 50) / 50, 0, 1))[..., :3]
    grey[shown == IGNORE_INDEX] = 1.0
    show(right, grey, f"{scene}: confidence (black: 50 % or less, white: 100 %)")
    names = {f"{readable(n)} {share:.1%}": c for (n, c), share in zip(colors.items(), shares, strict=True)}
    color_legend(figure, {**names, "no data": UNKNOWN})
    save(figure, path)
