"""Panels of a split say what was measured, and what could not be."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline.reporting.split_panels import correlation_panel, distance_panel, score_panel

MEASURED = {"lag_m": [10.0, 100.0, 1000.0], "semivariance": [0.01, 0.02, 0.03], "pairs": [50, 50, 50]}
MODEL = {"name": "exponential", "nugget": 0.005, "sill": 0.03, "length_m": 300.0}


def certificate(**correlation: Any) -> dict[str, Any]:
    found = {"range_m": 300.0, "range_error_m": 20.0, "why": "95 % of the sill", "reach_m": 1000.0, "pixels": 500,
             "semivariogram": MEASURED, "model": MODEL}
    return {"correlation": {**found, **correlation}, "block_size_m": 640.0, "buffer_m": 50.0,
            "separation": {"quantiles": {"map_to_train_m": [0.0, 5.0, 9.0], "val_to_train_m": [50.0, 70.0, 90.0]},
                           "wasserstein_m": {"val_against_map": 65.0}, "quick_model_on_val": [
                               {"low_m": 50.0, "high_m": 70.0, "pixels": 3, "accuracy": 0.9, "mcc": None},
                               {"low_m": 70.0, "high_m": 90.0, "pixels": 3, "accuracy": 0.8, "mcc": 0.5}]}}


def labels(draw: Any, content: dict[str, Any]) -> tuple[list[str], Any]:
    axes = Figure().subplots()
    draw(axes, content)
    return axes.get_legend_handles_labels()[1], axes


def test_the_range_its_error_and_the_block_are_drawn() -> None:
    found, axes = labels(correlation_panel, certificate())
    assert found == ["sampled pairs", "exponential model", "sill", "range 300 m", "its error, 20 m", "block 640 m"]
    curve = axes.lines[1]
    assert np.interp(300, curve.get_xdata(), curve.get_ydata()) == pytest.approx(0.005 + 0.025 * 0.95, rel=0.01)
    assert "300 m (95 % of the sill)" in axes.get_title()


def test_no_sill_has_a_curve_but_no_range() -> None:
    found, axes = labels(correlation_panel, certificate(range_m=None, range_error_m=None, why="no sill: it rises"))
    assert found == ["sampled pairs", "exponential model", "block 640 m"]
    assert "no sill: it rises" in axes.get_title()


def test_what_was_not_measured_is_said() -> None:
    _, axes = labels(correlation_panel, certificate(range_m=None, semivariogram=None, model=None, why="too little"))
    assert axes.texts[0].get_text() == "too little"
    _, axes = labels(correlation_panel, {"correlation": None})
    assert axes.texts[0].get_text() == "not measured"


def test_distances_are_cumulative_and_a_missing_part_is_left_out() -> None:
    found, axes = labels(distance_panel, certificate())
    assert found == ["whole map", "val (W = 65 m)", "buffer"]
    assert axes.lines[1].get_ydata().tolist() == [0, 50, 100]


def test_scores_are_steps_between_distances() -> None:
    found, axes = labels(score_panel, certificate())
    assert found == ["accuracy", "MCC"]
    assert axes.patches[0].get_data().edges.tolist() == [50, 70, 90]
    assert np.isnan(axes.patches[1].get_data().values[0])
    empty = certificate()
    empty["separation"]["quick_model_on_val"] = []
    _, axes = labels(score_panel, empty)
    assert "no labelled val or train ground" in axes.texts[0].get_text()
