"""The gates of a part: every target beside the score's interval, which limit of it counts, and whether it holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from pipeline.metrics.bootstrap import Estimate
from pipeline.metrics.gates import shown
from pipeline.params.targets import Target, parse_target
from pipeline.reporting.figure_style import ACCENT, INK, MUTED, WRONG, grid_of_axes, new_figure, readable, save

#: Of the width: where the words of a row begin, behind the axis.
_WORDS_AT = 1.03


def draw_gates(judged: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """One row a target: its rule as a line with an arrow to the kept side, value and interval, and the outcome.

    Args:
        judged: `gates.<method>` of metrics.json.
        title: of the figure.
        path: the PNG.
    """
    targets = [parse_target(name, gate["rule"]) for name, gate in judged.items()]
    shares = [target for target in targets if target.score != "false"]
    counts = [target for target in targets if target.score == "false"]
    groups = [group for group in (shares, counts) if group]
    figure = new_figure(8.6, 0.9 + sum(0.42 * len(group) + 0.45 for group in groups))
    for row, group in zip(grid_of_axes(figure, len(groups), 1), groups, strict=True):
        _draw_rows(row[0], group, judged)
    figure.suptitle(title, x=0.01, ha="left")
    save(figure, path)


def _draw_rows(axes: Axes, targets: list[Target], judged: Mapping[str, Mapping[str, Any]]) -> None:
    ends = [float(judged[t.name][key] or 0) for t in targets for key in ("value", "low", "high")]
    ends += [target.threshold for target in targets]
    low, high = min(0.0, *ends), max(1.0, *ends)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    for place, target in enumerate(targets):
        gate = judged[target.name]
        color = ACCENT if gate["held"] else WRONG
        reach = 0.04 * (high - low) * (1 if target.from_below else -1)
        axes.plot([target.threshold] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=1.2)
        axes.annotate("", (target.threshold + reach, place - 0.3), (target.threshold, place - 0.3),
                      arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0})
        known = Estimate.of(gate)
        words = "undefined" if gate["value"] is None else f"{gate['value']:.3f}, {known.gap or 'without interval'}"
        if gate["value"] is not None:
            axes.plot(gate["value"], place, "o", color=color, markersize=5)
        if gate["low"] is not None:
            words = shown(target, known)
            axes.plot([gate["low"], gate["high"]], [place, place], color=color, linewidth=2, solid_capstyle="butt")
            limit = gate["low"] if target.from_below else gate["high"]
            axes.plot([limit] * 2, [place - 0.14, place + 0.14], color=color, linewidth=2)
        axes.text(_WORDS_AT, place, f"{'holds' if gate['held'] else 'missed'}  {words}", color=color, va="center",
                  fontsize=8, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(targets)), [f"{readable(target.name)} {target.rule}" for target in targets])
    axes.set_ylim(len(targets) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=MUTED, linewidth=0.3, alpha=0.5)
    axes.set_xlabel("Number of objects" if targets[0].score == "false" else "Score")
