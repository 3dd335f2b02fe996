"""The table of an ablation: results.json, results.csv and table.md, and the same in the terminal.

Equal results give equal bytes: neither times nor durations are in the files.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.experiments.comparison import Baseline, Compared, unpaired
from pipeline.experiments.plan import Plan
from pipeline.experiments.results import read_result
from pipeline.experiments.runner import Outcome
from pipeline.metrics.bootstrap import Estimate
from pipeline.metrics.spread import Spread
from pipeline.paths import write_json

#: Columns of the table in the terminal, at least.
_WIDTH = 140


@dataclass(frozen=True)
class Row:
    """A variant in the table: its scores, or the reason there are none."""

    name: str
    changes: Mapping[str, Any]
    experiment: str
    scores: Mapping[str, Compared]
    reason: str


@dataclass(frozen=True)
class Table:
    """An ablation's results; the first row is the baseline's."""

    name: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    #: What is compared, for headings and notes.
    truth: str
    blocks: int
    seeds: int
    folds: int
    out_of_fold: bool
    confidence: float

    @property
    def failed(self) -> list[Row]:
        """Rows without scores."""
        return [row for row in self.rows if row.reason]

    @property
    def note(self) -> str:
        """What the numbers are and what they are not."""
        where = "out of fold, over all folds" if self.out_of_fold else "on the val fold"
        text = (f"Each variant minus the baseline, {where}: {self.blocks} blocks, truth `{self.truth}`, {self.seeds} "
                f"seed{'s' * (self.seeds > 1)}. In brackets {self.confidence:.0%} intervals of the paired difference "
                "over resampled blocks: about ground, the trained networks as they are.")
        if self.seeds > 1:
            text += (" Those are scores of all seeds' probabilities averaged. Over seeds: single trainings, the mean "
                     "of the differences seed by seed with its t-interval: about training.")
        elif self.out_of_fold:
            text += (" Over folds: mean and standard deviation of the differences fold by fold; folds share train "
                     "ground, so no interval.")
        if self.seeds == 1:
            text += " One seed: how far a repetition with another one would lie apart is not known."
        return (f"{text} Intervals are for each row alone, not corrected for the number of rows: of twenty changes "
                "without effect, one is expected to look like one.")

    @property
    def over(self) -> str:
        """What differences are also given over: seeds, folds, or "" for neither."""
        return "seeds" if self.seeds > 1 else "folds" if self.out_of_fold else ""


def build(plan: Plan, outcomes: Sequence[Outcome]) -> Table:
    """Compare every finished variant with the baseline, the first of them.

    Raises:
        IntegrityError: the results of a finished variant cannot be read.
    """
    first = outcomes[0].results
    assert first is not None  # the runner stops where the baseline fails
    result = read_result(first)
    baseline = Baseline(result, plan.bootstrap, plan.seed)
    rows = [_row(outcomes[0], baseline.alone(plan.metrics))]
    for outcome in outcomes[1:]:
        if outcome.results is None:
            rows.append(_row(outcome, {}, f"failed: {outcome.reason}"))
            continue
        other = read_result(outcome.results)
        if reason := unpaired(result, other):
            rows.append(_row(outcome, {}, f"not comparable: {reason}"))
        else:
            rows.append(_row(outcome, baseline.compare(other, plan.metrics)))
    return Table(plan.name, plan.metrics, tuple(rows), result.truth, len(result.network), len(result.seeds),
                 len({fold for _, _, fold in result.members}), result.out_of_fold, plan.bootstrap.confidence)


def _row(outcome: Outcome, scores: Mapping[str, Compared], reason: str = "") -> Row:
    return Row(outcome.variant.name, outcome.variant.changes, outcome.experiment, scores, reason)


def write(table: Table, folder: Path) -> None:
    """Write results.json, results.csv and table.md."""
    write_json(folder / "results.json", _plain({
        "name": table.name, "metrics": table.metrics, "truth": table.truth, "blocks": table.blocks,
        "seeds": table.seeds, "folds": table.folds, "out_of_fold": table.out_of_fold, "confidence": table.confidence,
        "note": table.note,
        "variants": [{"name": r.name, "changes": r.changes, "experiment": r.experiment, "reason": r.reason,
                      "scores": r.scores} for r in table.rows]}))
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["variant", "metric", "value", "value_low", "value_high", "difference", "low", "high", "seeds",
                         "over_seeds_mean", "over_seeds_sd", "over_seeds_low", "over_seeds_high", "reason"])
        for row in table.rows:
            for metric in table.metrics:
                writer.writerow([row.name, metric, *_cells(row.scores.get(metric)), row.reason])
    (folder / "table.md").write_text(markdown(table), encoding="utf-8")


def _cells(score: Compared | None) -> list[str]:
    if score is None:
        return [""] * 11
    over = score.over_seeds
    difference = score.difference or Estimate(math.nan, math.nan, math.nan)
    numbers = [n for found in (score.value, difference) for n in (found.value, found.low, found.high)]
    seeds = [over.mean, over.sd, over.low, over.high] if over else [math.nan] * 4
    text = ["" if math.isnan(n) else repr(float(n)) for n in (*numbers, *seeds)]
    return [*text[:6], str(over.n) if over else "", *text[6:]]


def markdown(table: Table) -> str:
    """The table as a Markdown page."""
    lines = [f"# Ablation {table.name}", "", table.note, ""]
    for metric in table.metrics:
        head = headings(table, metric)
        lines += ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(table, row, metric)) + " |"
                  for row in table.rows if not row.reason]
        lines.append("")
    lines += ["| variant | what it changes | experiment |", "|---|---|---|"]
    lines += [f"| {row.name} | {_changes(row)} | {row.experiment} |" for row in table.rows]
    if table.failed:
        lines += ["", "Not in the table:", "", *(f"- {row.name} {row.reason}" for row in table.failed)]
    return "\n".join(lines) + "\n"


def headings(table: Table, metric: str) -> list[str]:
    """Of the columns that `cells` gives."""
    return ["variant", metric, "difference"] + ([f"over {table.over}"] if table.over else [])


def cells(table: Table, row: Row, metric: str) -> list[str]:
    """A variant's line for one metric."""
    score = row.scores[metric]
    over = score.over_seeds if table.over == "seeds" else score.over_folds
    result = [row.name, _estimate(score.value, ".4f"), "" if score.difference is None else
              _estimate(score.difference, "+.4f")]
    return result + ([_spread(over)] if table.over else [])


def _estimate(estimate: Estimate, form: str) -> str:
    if math.isnan(estimate.value):
        return "undefined"
    text = format(estimate.value, form)
    text += "" if math.isnan(estimate.low) else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return f"{text} {estimate.gap}" if estimate.gap else text


def _spread(over: Spread | None) -> str:
    if over is None or over.n == 0:
        return ""
    if not math.isnan(over.low):
        return f"{over.mean:+.4f} [{over.low:+.4f}, {over.high:+.4f}] (n={over.n})"
    return f"{over.mean:+.4f} ± {over.sd:.4f} (n={over.n})" if over.n > 1 else f"{over.mean:+.4f} (n=1)"


def _changes(row: Row) -> str:
    shown = _flow(row.changes)[1:-1].replace("|", "\\|")
    return f"`{shown}`" if shown else "nothing"


def _flow(value: Any) -> str:
    """A value as YAML writes it on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else '""' if value == "" else str(value)


def show(table: Table) -> None:
    """Print the table in the terminal."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, _WIDTH)  # a line that a narrow terminal wraps says more than one cut short
    for metric in table.metrics:
        grid = Grid(title=f"{table.name}: {metric}", title_justify="left")
        for place, name in enumerate(headings(table, metric)):
            grid.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in table.rows:
            if not row.reason:
                grid.add_row(*cells(table, row, metric))
        console.print(grid, markup=False)
    console.print(table.note, markup=False)
    for row in table.failed:
        console.print(f"{row.name} {row.reason}", markup=False)


def _plain(value: Any) -> Any:
    """Mappings, lists and numbers only; NaN as None."""
    if isinstance(value, Estimate):
        return value.plain()
    if isinstance(value, Compared | Spread):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
