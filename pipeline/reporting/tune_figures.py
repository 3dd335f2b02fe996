"""Figures of a study: the scores of its trials in their order, and how much each searched key matters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.figure_style import ACCENT, INK, MUTED, SERIES, WRONG, grid_of_axes, new_figure, save


def draw_history(results: Mapping[str, Any], path: Path) -> None:
    """Draw results.json of a study: every trial's score, the best so far as a line, and the default's.

    Grey crosses are pruned trials at the last score they reported; red ticks below the others failed.
    """
    figure = new_figure(7.2, 3.8)
    axis = grid_of_axes(figure, 1, 1)[0][0]
    trials = results["trials"]
    done = [(t["number"], t["score"]) for t in trials if t["state"] == "done" and t["score"] is not None]
    pruned = [(t["number"], t["score"]) for t in trials if t["state"] == "pruned" and t["score"] is not None]
    failed = [t["number"] for t in trials if t["state"] == "failed"]
    if pruned:
        axis.plot(*zip(*pruned, strict=True), "x", color=MUTED, markersize=5, label="pruned, last score")
    if done:
        axis.plot(*zip(*done, strict=True), "o", color=ACCENT, markersize=4.5, label="trial")
        _draw_best(axis, done, trials[-1]["number"])
    if results["default"] is not None:
        axis.axhline(results["default"]["score"], color=MUTED, linestyle=":", linewidth=1.2, label="params.yaml")
    for place, number in enumerate(failed):
        axis.plot(number, 0.02, "|", color=WRONG, markersize=9, transform=axis.get_xaxis_transform(),
                  label="failed" if place == 0 else None)
    if not done:
        axis.text(0.5, 0.5, "no trial has a score", transform=axis.transAxes, ha="center", color=MUTED)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlabel("trial", color=INK)
    axis.set_ylabel(f"{results['metric']} on inner folds", color=INK)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=5, frameon=False)
    counts = results["counts"]
    figure.suptitle(f"{results['study']}: {counts['done']} trials with a score, {counts['pruned']} pruned, "
                    f"{counts['failed']} failed", x=0.01, ha="left", fontsize=9)
    save(figure, path)


def _draw_best(axis: Axes, done: list[tuple[int, float]], last: int) -> None:
    """The best so far as a step line, in the order of the trials' numbers."""
    heights: list[float] = []
    for _, score in done:
        heights.append(max(score, heights[-1]) if heights else score)
    axis.plot([number for number, _ in done] + [last], [*heights, heights[-1]], color=SERIES[1], linewidth=1.4,
              drawstyle="steps-post", label="best so far", zorder=1)


def draw_importance(results: Mapping[str, Any], path: Path) -> None:
    """Draw how much of the scores' variance each key explains; where there is no answer, the figure says why."""
    importances = results["importances"] or {}
    figure = new_figure(7.2, 1.4 + 0.32 * max(2, len(importances)))
    axis = grid_of_axes(figure, 1, 1)[0][0]
    if importances:
        names = sorted(importances, key=lambda name: importances[name])
        axis.barh(names, [importances[name] for name in names], color=ACCENT, height=0.6)
        for place, name in enumerate(names):
            axis.text(importances[name], place, f" {importances[name]:.2f}", va="center", fontsize=8)
        axis.set_xlim(0, 1.12 * max(importances.values()) or 1)
        axis.set_xlabel("share of the scores' variance", color=INK)
    else:
        axis.set_axis_off()
        axis.text(0.5, 0.5, results["importances_note"], transform=axis.transAxes, ha="center", va="center",
                  color=MUTED)
    note = f"\n{results['importances_note']}" if importances else ""
    figure.suptitle(f"{results['study']}: importance of searched keys{note}", x=0.01, ha="left", fontsize=9)
    save(figure, path)
