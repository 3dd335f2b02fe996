"""Curves of a finished training, one line a member: drawn by evaluate, so that a change of style retrains nothing."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw_curves(file: Path, histories: Sequence[Path]) -> None:
    """Draw training loss, val scores and learning rate by epoch of each member's history.csv."""
    tables = [pd.read_csv(path) for path in histories]
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    loss, scores, rate = figure.subplots(1, 3)
    for i, table in enumerate(tables):
        loss.plot(table["epoch"], table["train_loss"], label=f"member {i}")
        rate.plot(table["epoch"], table["lr"])
        scores.set_prop_cycle(None)
        for name in [column for column in table if column.startswith("val_")]:
            label = name.removeprefix("val_").replace("_", " ") if i == 0 else None
            scores.plot(table["epoch"], table[name], label=label, alpha=0.9)
    _finish(loss, "training loss", legend=len(tables) > 1)
    _finish(scores, "scores on val", legend=True)
    scores.set_ylim(min(0.0, scores.get_ylim()[0]), 1)
    _finish(rate, "learning rate", legend=False)
    figure.savefig(file, dpi=110)


def _finish(axis: Axes, title: str, legend: bool) -> None:
    axis.set_title(title)
    axis.set_xlabel("epoch")
    axis.grid(alpha=0.3)
    if legend:
        axis.legend(fontsize=7, loc="lower right" if "scores" in title else "upper right")
