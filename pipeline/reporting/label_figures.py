"""What refinement did: label IoU against the truth before and after, the ledger in numbers, outlines on the scene.

Scores count pixels that carry a label and a known truth; with sparse or ignored ground their number differs between
before and after and is given beside them.
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

from pipeline.fanout import fan_out
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.nodata import has_data
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import iou_of, macro_iou_of
from pipeline.params.task import Task
from pipeline.paths import write_json
from pipeline.reporting.figure_style import color_legend, new_figure, readable, rgb, save, show
from pipeline.reporting.label_changes import Comparison, compare
from pipeline.scenes.burnt import LabelSet, fill_value
from pipeline.sources.catalog import Catalog
from pipeline.types import AnyArray, BoolArray, Window

#: Longest side of a scene in a figure, pixels.
_LONGEST_PX = 1000

#: Outlines drawn in one picture; of more, the largest: what is smaller is less than a dot there.
_MOST_OUTLINES = 4000


@dataclass(frozen=True)
class _SceneJob:
    """One scene's figure."""

    scene: Path
    figure: Path
    labels: LabelSet
    reference: Path
    task: Task


def write_report(folder: Path, raw_folder: Path, catalog: Catalog, task: Task, unrefined: gpd.GeoDataFrame,
                 refined: gpd.GeoDataFrame, ledger: pd.DataFrame) -> dict[str, Any]:
    """Write metrics.json and outlines_<scene>.png for each scene; returns the metrics."""
    fill = fill_value(catalog.coverage, task.background, task.class_names)
    labels, reference = LabelSet(refined, unrefined, task.class_names, fill), raw_folder / "reference"
    paths = [raw_folder / scene.file for scene in catalog.scenes]
    jobs = [_SceneJob(path, folder / f"outlines_{scene.id}.png",
                      labels.of_scene(scene.id, raster_io.describe(path).grid), reference, task)
            for scene, path in zip(catalog.scenes, paths, strict=True)]
    before = after = Confusion.empty(len(task.classes))
    for found in fan_out(_scene_report, jobs, "outlines"):
        if found.before is not None and found.after is not None:
            before, after = before.merge(found.before), after.merge(found.after)
    agreement = {"before": _scores(before, task), "after": _scores(after, task)} if catalog.reference else {}
    metrics = {**ledger_numbers(ledger), **({"truth": agreement} if agreement else {})}
    write_json(folder / "metrics.json", metrics)
    return metrics


def _scene_report(job: _SceneJob) -> Comparison:
    """Draw the scene's figure."""
    found = compare(job.labels, raster_io.describe(job.scene).grid, job.reference)
    outline_figure(job.figure, job.scene, found, job.labels.unrefined, job.labels.refined, job.task)
    return found


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


def outline_figure(path: Path, scene: Path, found: Comparison, unrefined: gpd.GeoDataFrame,
                   refined: gpd.GeoDataFrame, task: Task) -> None:
    """The scene with its outlines before and after, whole and in the detail where outlines changed most."""
    grid = raster_io.describe(scene).grid
    whole = Window(0, 0, grid.height, grid.width)
    colors = {c.name: c.color for c in task.classes}
    figure = new_figure(11, 11 * _aspect(grid))
    for row, window in zip(figure.subplots(2, 2, squeeze=False), (whole, found.detail), strict=True):
        image, view = _picture(scene, grid, window, task.bands)
        for axes, (title, frame) in zip(row, (("before", unrefined), ("after", refined)), strict=True):
            drawn = _draw(axes, frame, frame["source_id"].isin(unrefined["source_id"]).to_numpy(), view, colors)
            where = "whole scene" if window == whole else found.reason
            show(axes, image, f"labels {title}, {where}" + ("" if drawn else f" (largest {_MOST_OUTLINES:,} outlines)"))
            axes.set_xlim(-0.5, view.width - 0.5)
            axes.set_ylim(view.height - 0.5, -0.5)
    present = [name for name in colors if name in set(unrefined["class"]) | set(refined["class"])]
    color_legend(figure, {readable(name): colors[name] for name in present})
    save(figure, path)


def _aspect(grid: Grid) -> float:
    return min(max((0.5 * grid.height / grid.width + 0.5), 0.6), 1.4)


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


def _draw(axes: Axes, frame: gpd.GeoDataFrame, outline: BoolArray, view: Grid, colors: Mapping[str, str]) -> bool:
    """Outlines in their class's colour, in pixels of the view, ignored ground dashed white; False if too many.

    What is no `outline` is ground that rules derived: its pieces are drawn as one, without the edges of their tiles.
    """
    inverse, frame = ~view.transform, frame.reset_index(drop=True)
    pixels = frame.geometry.to_crs(view.crs).affine_transform([inverse.a, inverse.b, inverse.d, inverse.e,
                                                               inverse.c - 0.5, inverse.f - 0.5])
    box = pixels.bounds
    seen = (box["maxx"] > -1) & (box["maxy"] > -1) & (box["minx"] < view.width) & (box["miny"] < view.height)
    extent = np.maximum(box["maxx"] - box["minx"], box["maxy"] - box["miny"])[seen]
    chosen = extent.sort_values(ascending=False, kind="stable").index[:_MOST_OUTLINES].sort_values()
    names = frame["class"].loc[chosen]
    for name in sorted(set(names)):
        members = chosen[names == name]
        pieces = members[~outline[members]]
        shapes = pd.concat([pixels.loc[members[outline[members]]],
                            gpd.GeoSeries([pixels.loc[pieces].union_all()] if len(pieces) else [], crs=pixels.crs)])
        shapes.boundary.plot(
            ax=axes, color=colors.get(name, "#ffffff"), linewidth=0.9, linestyle="-" if name in colors else "--",
            aspect=None)  # the image's, not one by latitude: these are pixels
    axes.set_xlabel("")
    axes.set_ylabel("")
    return len(chosen) == len(extent)
