"""The network's scores by class as a table with intervals, and its whole objects beside those of other methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.reporting.figure_style import (
    INK,
    MUTED,
    SERIES,
    grid_of_axes,
    new_figure,
    readable,
    save,
)

_SCORES = {"iou": "IoU", "precision": "Precision", "recall": "Recall", "f1": "F1", "class_mcc": "MCC, one vs rest"}

#: What a dagger behind a score means.
_GAPS = "undefined in some resamples, which its interval leaves out"


def draw_class_table(metrics: Mapping[str, Any], truth: str, colors: Mapping[str, str], title: str, path: Path) -> None:
    """Every score of every class with its interval below it; an undefined score, or resample, is said to be."""
    network, classes = metrics["truths"][truth]["network"], metrics["classes"]
    has_gaps = any("defined" in network[score][name] for score in _SCORES for name in classes)
    names = [readable(name) for name in classes]
    first = 0.6 + 0.085 * max(len(name) for name in names)
    width, height = first + 1.25 * len(_SCORES), 1.1 + 0.42 * (len(classes) + has_gaps)
    figure = new_figure(width, height)
    axis = grid_of_axes(figure, 1, 1)[0][0]
    axis.set_xlim(0, width)
    axis.set_ylim(len(classes) + has_gaps + 0.1, -1)
    axis.set_axis_off()
    for col, label in enumerate(_SCORES.values()):
        axis.text(first + 1.25 * col + 0.6, -0.5, label, ha="center", va="center", fontsize=8.5, color=INK)
    for row, (name, label) in enumerate(zip(classes, names, strict=True)):
        axis.plot([0, width], [row, row], color=MUTED, linewidth=0.4)
        axis.plot(0.12, row + 0.5, "s", color=colors[name], markersize=8, markeredgecolor=MUTED, markeredgewidth=0.5)
        axis.text(0.3, row + 0.5, label, va="center", fontsize=8.5)
        for col, score in enumerate(_SCORES):
            value = network[score][name]
            point, low, high = (value[key] for key in ("value", "low", "high"))
            x = first + 1.25 * col + 0.6
            if point is None:
                axis.text(x, row + 0.5, "undefined", ha="center", va="center", fontsize=7.5, color=MUTED)
                continue
            axis.text(x, row + 0.34, f"{point:.3f}", ha="center", va="center", fontsize=8.5)
            if low is not None and high is not None:
                mark = "†" if "defined" in value else ""
                axis.text(x, row + 0.74, f"{low:.3f} to {high:.3f}{mark}", ha="center", va="center", fontsize=6.5,
                          color=MUTED)
    if has_gaps:
        axis.text(0.12, len(classes) + 0.5, f"† {_GAPS}", va="center", fontsize=7.5, color=MUTED)
    figure.suptitle(title, x=0.01, ha="left")
    save(figure, path)


def _with_interval(counts: Mapping[str, Any]) -> str:
    """F1 of objects, with its interval where there is one."""
    if counts["f1"] is None:
        return "undefined"
    low, high = (counts["intervals"]["f1"][key] for key in ("low", "high"))
    return f"{counts['f1']:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")


def draw_objects(metrics: Mapping[str, Any], title: str, path: Path) -> None:
    """For every class whose objects are counted, how many each method found, missed, and saw where there are none."""
    objects = {name: table for name, table in metrics["objects"].items() if table}
    methods = max(len(table) for table in objects.values())
    figure = new_figure(2.2 + 3.9 * len(objects), 1.3 + 0.36 * methods)
    axes = grid_of_axes(figure, 1, len(objects))[0]
    parts = (("found", SERIES[0], "found"), ("missed", "#c9d3dc", "missed"), ("false", SERIES[5], "false"))
    for axis, (name, table) in zip(axes, objects.items(), strict=True):
        for place, counts in enumerate(table.values()):
            numbers = {"found": counts["found"], "missed": counts["truth"] - counts["found"], "false": counts["false"]}
            left = 0
            for key, color, label in parts:
                axis.barh(place, numbers[key], left=left, color=color, height=0.62, edgecolor="white", linewidth=0.5,
                          label=label if place == 0 else None)
                left += numbers[key]
            f1 = _with_interval(counts)
            axis.text(left, place, f" {counts['found']}/{counts['truth']}, {counts['false']} false, F1 {f1}",
                      va="center", fontsize=7)
        axis.set_yticks(range(len(table)), [readable(method) for method in table] if axis is axes[0] else
                        [""] * len(table))
        axis.set_ylim(len(table) - 0.5, -0.5)
        axis.set_xlim(0, axis.get_xlim()[1] * 2.1)
        axis.set_title(f"{readable(name)}: whole objects", loc="left")
        axis.locator_params(axis="x", integer=True, nbins=5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left")
    save(figure, path)
