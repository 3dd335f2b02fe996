"""Panels of a split's measurements: correlation of residuals, distances to train ground, scores by distance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.reporting.figure_style import ACCENT, INK, MUTED, WRONG
from pipeline.splits.variogram import Fit

#: Colours of the parts (Okabe & Ito, told apart by colour-blind readers).
PART_COLORS = {"train": "#0072B2", "val": "#E69F00", "test": "#CC3311"}


def correlation_panel(axes: Axes, certificate: Mapping[str, Any]) -> None:
    """The residuals' semivariogram, its fitted curve and range, and the side of a block."""
    found = certificate["correlation"] or {}
    measured, model = found.get("semivariogram"), found.get("model")
    if measured is None:
        _say(axes, "Correlation of residuals", found.get("why", "not measured"))
        return
    axes.plot(measured["lag_m"], measured["semivariance"], "o", color=ACCENT, markersize=4, label="sampled pairs")
    if model is not None:
        lags = np.geomspace(measured["lag_m"][0], measured["lag_m"][-1], 200)
        fitted = Fit(model["name"], model["nugget"], model["sill"], model["length_m"], 0)
        axes.plot(lags, fitted.curve(lags), color=INK, linewidth=1, label=f"{model['name']} model")
        if found["range_m"] is not None:
            axes.axhline(model["sill"], color=MUTED, linewidth=0.8, linestyle=":", label="sill")
    if found["range_m"]:
        axes.axvline(found["range_m"], color=WRONG, linewidth=1.2, label=f"range {found['range_m']:,.0f} m")
        if error := found["range_error_m"]:
            axes.axvspan(max(found["range_m"] - error, 0), found["range_m"] + error, color=WRONG, alpha=0.12,
                         linewidth=0, label=f"its error, {error:,.0f} m")
    axes.axvline(certificate["block_size_m"], color=PART_COLORS["train"], linestyle="--", linewidth=1.2,
                 label=f"block {certificate['block_size_m']:,.0f} m")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    range_m = found["range_m"]
    told = found["why"] if range_m is None else f"{range_m:,.0f} m ({found['why']})"
    axes.set(title=f"Correlation range of a pixel model's residuals: {told}", xlabel="distance of pairs (m)",
             ylabel="semivariance")
    axes.legend(frameon=False, fontsize=7, loc="upper left")


def distance_panel(axes: Axes, certificate: Mapping[str, Any]) -> None:
    """Cumulative distributions of the distance to the nearest train pixel: the map's ground against val and test."""
    separation = certificate["separation"]
    colors = {"map": INK, "val": PART_COLORS["val"], "test": PART_COLORS["test"]}
    for name, color in colors.items():
        values = separation["quantiles"].get(f"{name}_to_train_m")
        if values is None:
            continue
        apart = separation["wasserstein_m"].get(f"{name}_against_map")
        label = "whole map" if name == "map" else f"{name} (W = {apart:,.0f} m)"
        axes.plot(values, np.linspace(0, 100, len(values)), color=color, label=label)
    axes.axvline(certificate["buffer_m"], color=MUTED, linestyle=":", linewidth=1, label="buffer")
    axes.set(title="Distance to train ground", xlabel="nearest labelled train pixel (m)", ylabel="share of pixels (%)",
             ylim=(0, 102))
    axes.legend(frameon=False, fontsize=7, loc="lower right")


def score_panel(axes: Axes, certificate: Mapping[str, Any]) -> None:
    """The quick model's scores on val by distance to the nearest train pixel."""
    scores = certificate["separation"]["quick_model_on_val"]
    if not scores:
        _say(axes, "Quick model by distance", "no labelled val or train ground to tell apart")
        return
    edges = [scores[0]["low_m"], *(s["high_m"] for s in scores)]
    for key, color, label in (("accuracy", MUTED, "accuracy"), ("mcc", ACCENT, "MCC")):
        values = [np.nan if s[key] is None else s[key] for s in scores]
        axes.stairs(values, edges, baseline=None, color=color, linewidth=1.6, label=label)
    axes.set(title="Quick model on val by distance", xlabel="nearest labelled train pixel (m)", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize=7, loc="lower right")


def _say(axes: Axes, title: str, text: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True, color=MUTED, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
