"""What refinement did: label IoU against the truth before and after, the ledger in numbers, outlines on the scene.

Scores count pixels that carry a label and a known truth; with sparse or ignored ground their number differs between
before and after and is given beside them. Shape legend: H rows, W columns, B bands.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine
from matplotlib.axes import Axes

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import iou_of, macro_iou_of
from pipeline.params.task import Task
from pipeline.paths import write_json
from pipeline.reporting.figure_style import color_legend, new_figure, readable, rgb, save, show
from pipeline.scenes.rasterize import burn_classes, fill_value, read_truth
from pipeline.sources.catalog import Catalog
from pipeline.types import AnyArray, BoolArray, UInt8Array, Window

#: Longest side of a scene in a figure, and side of the detail, in pixels.
_LONGEST_PX = 1000
_DETAIL_PX = 160


@dataclass(frozen=True)
class LabelMaps:
    """One scene's labels before and after, and its truth if there is one: class ids HW, 255 = none."""

    before: UInt8Array
    after: UInt8Array
    truth: UInt8Array | None


def write_report(folder: Path, raw_folder: Path, catalog: Catalog, task: Task, unrefined: gpd.GeoDataFrame,
                 refined: gpd.GeoDataFrame, ledger: pd.DataFrame) -> dict[str, Any]:
    """Write metrics.json and outlines_<scene>.png for each scene; returns the metrics."""
    fill = fill_value(catalog.coverage, task.background, task.class_names)
    before = after = Confusion.empty(len(task.classes))
    for scene in catalog.scenes:
        path = raw_folder / scene.file
        own = refined[refined["scene"] == scene.id]
        maps = label_maps(path, unrefined, own, raw_folder / "reference", task.class_names, fill)
        if maps.truth is not None:
            before = before.merge(Confusion.of(maps.truth, maps.before, len(task.classes)))
            after = after.merge(Confusion.of(maps.truth, maps.after, len(task.classes)))
        outline_figure(folder / f"outlines_{scene.id}.png", path, maps, fill, unrefined, own, task)
    agreement = {"before": _scores(before, task), "after": _scores(after, task)} if catalog.reference else {}
    metrics = {**ledger_numbers(ledger), **({"truth": agreement} if agreement else {})}
    write_json(folder / "metrics.json", metrics)
    return metrics


def label_maps(scene: Path, unrefined: gpd.GeoDataFrame, refined: gpd.GeoDataFrame, reference: Path,
               classes: Sequence[str], fill: int) -> LabelMaps:
    """Both label sets and the truth on the scene's own grid."""
    grid = raster_io.describe(scene).grid
    return LabelMaps(burn_classes(unrefined, grid, classes, fill), burn_classes(refined, grid, classes, fill),
                     read_truth(reference, grid, classes))


def ledger_numbers(ledger: pd.DataFrame) -> dict[str, Any]:
    """Rows by action, and by class the hectares before, changed by each action, and after."""
    change = ledger["area_after_m2"] - ledger["area_before_m2"]
    first = ~ledger.duplicated(["scene", "source_id"]) & (ledger["action"] != "added")
    hectares = {}
    for name in sorted(ledger["class"].unique()):
        own = ledger["class"] == name
        by_action = change[own].groupby(ledger["action"][own]).sum() / 1e4
        came = float(ledger["area_before_m2"][own & first].sum() / 1e4)
        hectares[name] = {"before": round(came, 3), "after": round(came + float(by_action.sum()), 3),
                          **{str(action): round(float(value), 3) for action, value in by_action.items()}}
    actions = {str(action): int(n) for action, n in ledger["action"].value_counts().sort_index().items()}
    return {"actions": actions, "hectares": hectares}


def _scores(confusion: Confusion, task: Task) -> dict[str, Any]:
    iou = {name: _plain(value) for name, value in zip(task.class_names, iou_of(confusion.matrix), strict=True)}
    return {"iou": iou, "macro_iou": _plain(macro_iou_of(confusion.matrix)), "pixels": confusion.pixels}


def _plain(value: Any) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def outline_figure(path: Path, scene: Path, maps: LabelMaps, fill: int, unrefined: gpd.GeoDataFrame,
                   refined: gpd.GeoDataFrame, task: Task) -> None:
    """The scene with its outlines before and after, whole and in the detail where outlines changed most."""
    grid = raster_io.describe(scene).grid
    chosen, words = _worth_a_look(maps, fill)
    whole, detail = Window(0, 0, grid.height, grid.width), busiest_window(chosen)
    colors = {c.name: c.color for c in task.classes}
    figure = new_figure(11, 11 * _aspect(grid))
    for row, window in zip(figure.subplots(2, 2, squeeze=False), (whole, detail), strict=True):
        image, view = _picture(scene, grid, window, task.bands)
        for axes, (title, frame) in zip(row, (("before", unrefined), ("after", refined)), strict=True):
            show(axes, image, f"labels {title}, {'whole scene' if window == whole else words}")
            _draw(axes, frame, view, colors)
    present = [name for name in colors if name in set(unrefined["class"]) | set(refined["class"])]
    color_legend(figure, {readable(name): colors[name] for name in present})
    save(figure, path)


def _worth_a_look(maps: LabelMaps, fill: int) -> tuple[BoolArray, str]:
    """Pixels within outlines that changed, else any that changed, else those with a label; and what they are."""
    changed: BoolArray = maps.before != maps.after
    within: BoolArray = changed & (maps.before != fill)
    if within.any():
        return within, "where outlines changed most"
    labelled: BoolArray = maps.after != fill
    return (changed, "where labels changed most") if changed.any() else (labelled, "unchanged, where most is labelled")


def _aspect(grid: Grid) -> float:
    return min(max((0.5 * grid.height / grid.width + 0.5), 0.6), 1.4)


def busiest_window(changed_HW: BoolArray) -> Window:
    """The square window (of a fixed raster of windows) with most changed pixels."""
    height, width = changed_HW.shape
    size = min(_DETAIL_PX, height, width)
    rows, cols = height // size, width // size
    counts = changed_HW[: rows * size, : cols * size].reshape(rows, size, cols, size).sum(axis=(1, 3))
    row, col = divmod(int(counts.argmax()), cols)
    return Window(row * size, col * size, size, size)


def _picture(scene: Path, grid: Grid, window: Window, bands: Sequence[str]) -> tuple[AnyArray, Grid]:
    """The window as RGB, at most `_LONGEST_PX` a side, and its grid."""
    info = raster_io.describe(scene)
    part = grid.crop(window)
    step = max(1.0, max(window.height, window.width) / _LONGEST_PX)
    view = Grid(part.crs_wkt, part.transform @ Affine.scale(step), max(1, int(window.height / step)),
                max(1, int(window.width / step)))
    numbers = [info.bands.index(band) + 1 for band in bands]
    with raster_io.open_on_grid(scene, view, "nearest") as reader:
        pixels = reader.read(Window(0, 0, view.height, view.width), numbers)
    valid = np.asarray(has_data(pixels, info.nodata).all(axis=-1))
    return rgb(pixels, list(bands), valid), view


def _draw(axes: Axes, frame: gpd.GeoDataFrame, view: Grid, colors: Mapping[str, str]) -> None:
    """Outlines in their class's colour, in pixels of the view; ignored ground is dashed white."""
    inverse = ~view.transform
    pixels = frame.geometry.to_crs(view.crs).affine_transform([inverse.a, inverse.b, inverse.d, inverse.e,
                                                               inverse.c - 0.5, inverse.f - 0.5])
    for name in sorted(set(frame["class"])):
        pixels[frame["class"].to_numpy() == name].boundary.plot(
            ax=axes, color=colors.get(name, "#ffffff"), linewidth=0.9, linestyle="-" if name in colors else "--",
            aspect=None)  # the image's, not one by latitude: these are pixels
    axes.set_xlim(-0.5, view.width - 0.5)
    axes.set_ylim(view.height - 0.5, -0.5)
    axes.set_xlabel("")
    axes.set_ylabel("")
