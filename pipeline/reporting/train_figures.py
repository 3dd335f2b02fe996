"""Curves of a finished training, members together: drawn by evaluate, so that a change of style retrains nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.networks.members import member_folders
from pipeline.networks.spec import ModelSpec
from pipeline.reporting.figure_style import INK, MUTED, SERIES, grid_of_axes, new_figure, readable, save

#: Val scores that get a panel of their own where there are several members.
_OWN_PANEL = ("val_mcc", "val_macro_iou")


@dataclass(frozen=True)
class Curve:
    """One member's history.csv, with the fold it held out and the names and colours of its classes."""

    number: int
    fold: int
    colors: dict[str, str]
    table: pd.DataFrame


def read_curves(checkpoint: Path) -> list[Curve]:
    """The histories of a checkpoint's members.

    Raises:
        ModelError: there is no member.
    """
    curves = []
    for folder in member_folders(checkpoint):
        spec = ModelSpec.model_validate_json((folder / "model.json").read_text(encoding="utf-8"))
        colors = dict(zip(spec.classes, spec.colors, strict=True))
        curves.append(Curve(int(folder.name), spec.val_fold, colors, pd.read_csv(folder / "history.csv")))
    return curves


def draw_curves(file: Path, curves: Sequence[Curve]) -> None:
    """Draw training loss, val scores, learning rate and the drawn classes by epoch.

    Of several members every one is a thin line, in the colour of its fold, and their mean a thick one.
    """
    several = len(curves) > 1
    scores = [c for c in curves[0].table if c.startswith("val_")]
    apart = [c for c in scores if c in _OWN_PANEL] or scores[:2] if several else []
    shares = [c for c in curves[0].table if c.startswith("share_")]
    panels = 2 + max(len(apart), 1) + bool(shares)
    figure = new_figure(3.5 * panels, 3.8 if several else 3.4)
    axes = grid_of_axes(figure, 1, panels)[0]
    _members(axes[0], curves, "train_loss", "Training loss")
    if several:
        for axis, score in zip(axes[1:], apart, strict=False):
            _members(axis, curves, score, _score_name(score) + " on val")
            _unit_scale(axis)
    else:
        _all_scores(axes[1], curves[0].table, scores)
    rate = axes[1 + max(len(apart), 1)]
    _members(rate, curves, "lr", "Learning rate")
    if shares:
        _composition(axes[-1], curves, shares)
    if several:
        _fold_legend(figure, axes[0])
    save(figure, file)


def _members(axis: Axes, curves: Sequence[Curve], column: str, title: str) -> None:
    """One column of all members, and its mean over the members that got so far."""
    folds = sorted({curve.fold for curve in curves})
    several = len(curves) > 1
    named: set[int] = set()
    for curve in curves:
        color = SERIES[folds.index(curve.fold) % len(SERIES)]
        label = f"fold {curve.fold}" if len(folds) > 1 else "member"
        known = curve.table[["epoch", column]].dropna()  # val need not be scored after every epoch
        axis.plot(known["epoch"], known[column], color=color, linewidth=0.9 if several else 1.6,
                  alpha=0.75 if several else 1, label=None if curve.fold in named or not several else label)
        named.add(curve.fold)
    if several:
        mean = pd.concat([c.table[["epoch", column]] for c in curves]).dropna().groupby("epoch")[column].mean()
        axis.plot(mean.index, mean.to_numpy(), color=INK, linewidth=2, label="mean of members")
    _finish(axis, title)


def _all_scores(axis: Axes, table: pd.DataFrame, scores: Sequence[str]) -> None:
    """Every val score of a single member."""
    for i, name in enumerate(scores):
        style = "-" if i < len(SERIES) else "--"
        known = table[["epoch", name]].dropna()
        axis.plot(known["epoch"], known[name], style, color=SERIES[i % len(SERIES)], label=_score_name(name),
                  linewidth=1.3)
    _finish(axis, "Scores on val")
    _unit_scale(axis)
    if scores:
        axis.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


def _composition(axis: Axes, curves: Sequence[Curve], shares: Sequence[str]) -> None:
    """What the labelled pixels drawn were, stacked, mean over the members; the legend has the mean over epochs."""
    rows = pd.concat([curve.table[["epoch", *shares]] for curve in curves]).groupby("epoch").mean()
    names = [share.removeprefix("share_") for share in shares]
    means = rows.mean().to_numpy()
    labels = [f"{readable(name)} {mean:.2%}" for name, mean in zip(names, means, strict=True)]
    colors = [curves[0].colors.get(name, MUTED) for name in names]
    axis.stackplot(rows.index.to_numpy(), np.nan_to_num(rows.to_numpy().T), colors=colors, labels=labels,
                   edgecolor="white", linewidth=0.4)
    _finish(axis, "Classes of the pixels drawn")
    axis.set_ylim(0, 1)
    handles, texts = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], texts[::-1], fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0),
                borderaxespad=0.2)


def _fold_legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 8), frameon=False, fontsize=8)


def _score_name(column: str) -> str:
    name = column.removeprefix("val_")
    return {"mcc": "MCC", "macro_iou": "Macro IoU"}.get(name, readable(name).replace("iou ", "IoU "))


def _unit_scale(axis: Axes) -> None:
    axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1)


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel("Epoch")
    axis.locator_params(axis="x", integer=True)
    axis.grid(alpha=0.3)
