"""Figure of a learning-rate test: loss over rate, with the suggestion."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def draw_rates(file: Path, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float],
               suggestion: float | None, configured: float) -> None:
    """Draw each step's loss and the smoothed loss over the rate (logarithmic).

    Args:
        file: the picture to write.
        rates: one a step.
        losses: one a step.
        smoothed: one a step.
        suggestion: the rate of the steepest descent; None where the loss falls nowhere.
        configured: train.optimizer.lr.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(rates, losses, color="0.75", linewidth=0.8, label="loss of a step")
    axis.plot(rates, smoothed, color="C0", label="smoothed")
    if suggestion is not None:
        axis.axvline(suggestion, color="C3", linestyle="--", label=f"steepest descent: {suggestion:.2g}")
    axis.axvline(configured, color="0.4", linestyle=":", label=f"train.optimizer.lr: {configured:.2g}")
    axis.set_xscale("log")
    axis.set_xlim(min(*rates, configured), max(*rates, configured))
    # The smoothed curve is what counts: single losses after it diverges would press it flat.
    low, high = min(losses), max(smoothed[0], smoothed[len(smoothed) // 2])
    axis.set_ylim(low - 0.05 * (high - low), high + 0.3 * (high - low))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("training loss")
    axis.set_title("Learning-rate test")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(file, dpi=110)
