"""An ablation as a forest plot: every variant's difference to the baseline with its intervals, a panel a score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from pipeline.reporting.figure_style import (
    ACCENT,
    INK,
    MUTED,
    grid_of_axes,
    new_figure,
    readable,
    save,
)

_MOST_COLS = 3


def draw_ablation(results: Mapping[str, Any], path: Path) -> None:
    """Draw results.json of an ablation.

    A dot and the line through it are the difference and its interval over blocks; grey dots are single seeds (or
    folds), the grey diamond and line their mean and its t-interval, cut off where it leaves the panel.
    """
    variants = results["variants"][1:]
    metrics = results["metrics"]
    cols = min(_MOST_COLS, len(metrics))
    rows = -(-len(metrics) // cols)
    label = 0.4 + 0.075 * max(len(variant["name"]) for variant in variants)
    figure = new_figure(label + 3.1 * cols, 1.25 + (0.95 + 0.4 * len(variants)) * rows)
    axes = [axis for row in grid_of_axes(figure, rows, cols) for axis in row]
    for place, (axis, metric) in enumerate(zip(axes, metrics, strict=False)):
        _panel(axis, variants, metric)
        value = results["variants"][0]["scores"][metric]["value"]["value"]
        known = "undefined" if value is None else f"{value:.3f}"
        axis.set_title(f"{readable(metric)}\nbaseline {known}", loc="left", fontsize=9)
        axis.set_yticks(range(len(variants)), [readable(v["name"]) for v in variants] if place % cols == 0 else
                        [""] * len(variants))
    for axis in axes[len(metrics):]:
        axis.set_axis_off()
    where = "out of fold" if results["out_of_fold"] else "val fold"
    over = _over(results)
    grey = {"seeds": "\nBlue: all seeds averaged. Grey: single seeds, their mean with its t-interval",
            "folds": "\nBlue: all folds. Grey: single folds and their mean"}
    figure.suptitle(f"{readable(results['name'])}: variant minus baseline, {where}, "
                    f"{results['confidence']:.0%} intervals over {results['blocks']} blocks{grey.get(over, '')}",
                    x=0.01, ha="left", fontsize=9)
    save(figure, path)


def _over(results: Mapping[str, Any]) -> str:
    return "seeds" if results["seeds"] > 1 else "folds" if results["out_of_fold"] else ""


def _panel(axis: Axes, variants: Sequence[Mapping[str, Any]], metric: str) -> None:
    reached = [0.0]
    axis.axvline(0, color=MUTED, linewidth=0.8)
    for place, variant in enumerate(variants):
        score = variant["scores"].get(metric)
        difference = score["difference"] if score else None
        if difference is None or difference["value"] is None:
            text = variant["reason"].partition(":")[0] or "undefined"
            axis.text(0.5, place, text, transform=axis.get_yaxis_transform(), ha="center", va="center", fontsize=7.5,
                      color=MUTED, bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})
            continue
        reached += _single(axis, place + 0.22, score)
        value, low, high = difference["value"], difference["low"], difference["high"]
        if low is not None:
            axis.plot([low, high], [place, place], color=ACCENT, linewidth=1.8, solid_capstyle="butt")
            reached += [low, high]
        axis.plot(value, place, "o", color=ACCENT, markersize=5)
        reached.append(value)
    margin = 0.08 * (max(reached) - min(reached)) or 0.01
    axis.set_xlim(min(reached) - margin, max(reached) + margin)
    axis.set_ylim(len(variants) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.3)
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlabel("difference", color=INK)


def _single(axis: Axes, height: float, score: Mapping[str, Any]) -> list[float]:
    """Seeds, or else folds, below a variant's line; the values drawn."""
    kind = "seed" if score["over_seeds"] else "fold"
    over = score[f"over_{kind}s"]
    if not over or over["mean"] is None:
        return []
    values = [value for value in score[f"by_{kind}"].values() if value is not None]
    axis.plot(values, [height] * len(values), "o", color=MUTED, markersize=3, markeredgewidth=0, alpha=0.8)
    if over["low"] is not None:
        axis.plot([over["low"], over["high"]], [height, height], color=MUTED, linewidth=1.0, solid_capstyle="butt")
    axis.plot(over["mean"], height, "D", color=MUTED, markersize=4)
    return values
