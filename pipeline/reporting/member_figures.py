"""How far members, seeds and folds lie apart: every value a dot, their mean with its spread beside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from pipeline.evaluation.choice import note
from pipeline.reporting.figure_style import (
    INK,
    MUTED,
    SERIES,
    color_legend,
    grid_of_axes,
    new_figure,
    readable,
    save,
)

_MAX_CLASS_PANELS = 6

#: Groups from top to bottom: key of the values, key of their summary, name.
_GROUPS = (("by_seed", "over_seeds", "seeds"), ("by_fold", "over_folds", "folds"),
           ("by_member", "over_members", "members"))


def draw_spread(metrics: Mapping[str, Any], truth: str, part: str, path: Path) -> None:
    """Dots of each seed, fold and member, coloured by fold where there are several; the mean with its interval.

    The thick line is the mean's t-interval over seeds, the thin one a standard deviation to either side. An interval
    of two seeds may be many times as wide as all dots: a panel shows what the dots and deviations need.
    """
    apart = metrics["spread"][truth]
    groups = [group for group in _GROUPS if group[0] in apart and not _repeats(group[0], apart)]
    shown = [("mcc", "MCC"), ("macro_iou", "Macro IoU")]
    shown += [(f"iou.{name}", f"IoU {readable(name)}") for name in metrics["classes"][:_MAX_CLASS_PANELS]]
    cols = min(4, len(shown))
    rows = -(-len(shown) // cols)
    figure = new_figure(1.0 + 2.5 * cols, 0.9 + (0.6 + 0.55 * len(groups)) * rows)
    axes = [axis for row in grid_of_axes(figure, rows, cols) for axis in row]
    for i, (axis, (score, title)) in enumerate(zip(axes, shown, strict=False)):
        _panel(axis, apart, groups, score, metrics["members"], labelled=i % cols == 0)
        axis.set_title(title, loc="left")
    for axis in axes[len(shown):]:
        axis.set_axis_off()
    kind = "out of fold" if metrics["out_of_fold"] else f"{part} part"
    seeds, folds = (len({member[key] for member in metrics["members"]}) for key in ("seed", "fold"))
    of = f"{len(metrics['members'])} members ({seeds} seed{'s' * (seeds > 1)} x {folds} fold{'s' * (folds > 1)})"
    known = "mean, standard deviation (thin)"
    if "by_seed" in apart:
        known += ", t-interval over seeds (thick, cut off where it leaves the panel)"
    if said := note(metrics.get("val_chose")):
        kind += f"; {said}"
    figure.suptitle(f"Spread of {of}, {kind}\n{known}", x=0.01, ha="left", fontsize=9)
    if folds > 1:
        color_legend(figure, {f"fold {fold}": SERIES[i % len(SERIES)] for i, fold in enumerate(_folds(metrics))})
    save(figure, path)


def _folds(metrics: Mapping[str, Any]) -> list[int]:
    return sorted({member["fold"] for member in metrics["members"]})


def _repeats(group: str, apart: Mapping[str, Any]) -> bool:
    """Beside one val fold seeds are members."""
    return group == "by_member" and "by_fold" not in apart and "by_seed" in apart


def _panel(axis: Axes, apart: Mapping[str, Any], groups: Sequence[tuple[str, str, str]], score: str,
           members: Sequence[Mapping[str, int]], labelled: bool) -> None:
    folds = sorted({member["fold"] for member in members})
    names, reached = [], []
    for place, (by, over, name) in enumerate(groups):
        values = {key: _at(row, score) for key, row in apart[by].items()}
        known = {key: value for key, value in values.items() if value is not None}
        for i, (key, value) in enumerate(known.items()):
            fold = {"by_fold": int(key), "by_member": apart[by][key].get("fold")}.get(by) if by != "by_seed" else None
            color = SERIES[folds.index(fold) % len(SERIES)] if fold in folds and len(folds) > 1 else MUTED
            jitter = ((i % 5) - 2) * 0.07
            axis.plot(value, place + jitter, "o", color=color, markersize=4, markeredgewidth=0, alpha=0.85)
        _mean(axis, place, _at(apart[over], score))
        reached += list(known.values()) + _deviation(_at(apart[over], score))
        names.append(f"{name} ({len(values)})")
        if 0 < len(known) < len(values):
            axis.text(0.99, place - 0.3, f"{len(known)} of {len(values)} defined", ha="right", va="center",
                      fontsize=6.5, transform=axis.get_yaxis_transform(), color=MUTED)
    axis.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axis.set_ylim(len(names) - 0.4, -0.6)
    if reached:
        margin = 0.2 * (max(reached) - min(reached)) or 0.02
        axis.set_xlim(min(reached) - margin, max(reached) + margin)
    axis.grid(axis="x", alpha=0.3)
    axis.locator_params(axis="x", nbins=5)


def _deviation(over: Mapping[str, float | None]) -> list[float]:
    mean, sd = over["mean"], over["sd"]
    return [] if mean is None or sd is None else [mean - sd, mean + sd]


def _mean(axis: Axes, place: int, over: Mapping[str, float | None]) -> None:
    mean, sd, low, high = (over[key] for key in ("mean", "sd", "low", "high"))
    if mean is None:
        axis.text(0.5, place, "undefined", transform=axis.get_yaxis_transform(), ha="center", va="center", fontsize=7,
                  color=MUTED)
        return
    below = place + 0.3
    if low is not None and high is not None:
        axis.plot([low, high], [below, below], color=INK, linewidth=3, alpha=0.35, solid_capstyle="butt")
    if sd is not None:
        axis.plot([mean - sd, mean + sd], [below, below], color=INK, linewidth=1.1, solid_capstyle="butt")
    axis.plot(mean, below, "D", color=INK, markersize=4)


def _at(tree: Mapping[str, Any], name: str) -> Any:
    for part in name.split("."):
        tree = tree[part]
    return tree
