"""The report of a training: its curves and the chosen epoch."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.paths import write_json


def write_train_report(folder: Path, history: Sequence[Mapping[str, float]], best_epoch: int,
                       summary: Mapping[str, Any]) -> None:
    """Write metrics.json and curves.png (loss, val scores, learning rate by epoch) into `folder`."""
    plain = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in summary.items()}
    write_json(folder / "metrics.json", plain)
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, scores, rate = figure.subplots(1, 3)
    loss.plot(epochs, [row["train_loss"] for row in history])
    loss.set_title("training loss")
    for name in [k for k in history[0] if k.startswith("val_")]:
        scores.plot(epochs, [row[name] for row in history], label=name.removeprefix("val_"))
    scores.set(title="validation scores", ylim=(min(0.0, *scores.get_ylim()), 1))
    scores.legend(fontsize=7, loc="lower right")
    rate.plot(epochs, [row["lr"] for row in history])
    rate.set_title("learning rate")
    for axis in (loss, scores, rate):
        axis.axvline(best_epoch, color="0.5", linestyle=":", linewidth=1)
        axis.set_xlabel("epoch (dotted: chosen)")
        axis.grid(alpha=0.3)
    figure.savefig(folder / "curves.png", dpi=110)
