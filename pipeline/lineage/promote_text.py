"""What `kumulus promote` shows: the gates, and the candidate's scores beside those of the alias's present holder."""

import math
from collections.abc import Callable

from pipeline.evaluation.choice import note
from pipeline.lineage.standing import Standing
from pipeline.lineage.standing_pair import Pair
from pipeline.metrics.bootstrap import Estimate

_WIDTH = 160


def show_gates(candidate: Standing, say: Callable[[str], None]) -> None:
    """One line a target."""
    for gate in candidate.gates:
        say(f"gate: {gate.text}")


def show_pair(candidate: Standing, champion: Standing | None, pair: Pair, say: Callable[[str], None]) -> None:
    """The table, and what a reader must know of it."""
    from rich.console import Console
    from rich.table import Table

    assert candidate.metrics is not None
    grid = Table(title=f"{candidate.version.name} on val against {candidate.metrics['headline']}", title_justify="left")
    headings = ["score", f"version {candidate.version.version}"]
    headings += [f"version {champion.version.version}", "difference"] if champion else []
    for place, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in pair.rows:
        cells = [row.name, _shown(row.candidate, ".3f")]
        cells += [_shown(row.champion, ".3f"), _shown(row.difference, "+.3f")] if champion else []
        grid.add_row(*cells)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, _WIDTH)
    with console.capture() as capture:
        console.print(grid, markup=False)
    say(capture.get().rstrip("\n"))
    shown = [(row.name, e.gap) for row in pair.rows for e in (row.candidate, row.champion, row.difference) if e]
    if gaps := {name: gap for name, gap in shown if gap}:
        say("† " + "; ".join(f"{name} {gap}" for name, gap in gaps.items()))
    for line in _notes(candidate, champion, pair):
        say(line)


def _notes(candidate: Standing, champion: Standing | None, pair: Pair) -> list[str]:
    lines = []
    for standing in (candidate, champion):
        if standing and standing.metrics and (said := note(standing.metrics.get("val_chose"))):
            lines.append(f"version {standing.version.version}: {said}")
    if champion is None:
        return lines
    if pair.unpaired:
        return [*lines, f"no differences: {pair.unpaired}"]
    return [*lines, f"differences: version {candidate.version.version} minus {champion.version.version} on the "
                    f"{pair.blocks} blocks that both were scored on, paired; those of whole objects are not on record"]


def _shown(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return ""
    if math.isnan(estimate.value):
        return "undefined"
    text = format(estimate.value, form)
    text += "" if math.isnan(estimate.low) else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return f"{text} †" if estimate.gap else text
