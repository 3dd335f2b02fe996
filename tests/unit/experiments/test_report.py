"""The table says what was compared, what failed and why, in three files of equal bytes for equal results."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.experiments import report
from pipeline.experiments.plan import Plan, Variant
from pipeline.experiments.runner import Outcome
from pipeline.params.evaluate import BootstrapParams
from pipeline.reporting.ablation_figure import draw_ablation

BASE = {1: [[9, 1], [1, 9]], 2: [[8, 2], [2, 8]]}
BETTER = {1: [[10, 0], [1, 9]], 2: [[9, 1], [2, 8]]}
METRICS = ("accuracy", "objects.water.f1")

Write = Callable[..., Path]


def variant(name: str) -> Variant:
    changes = {} if name == "baseline" else {"train.x": {"y": f"{name}|", "on": [True, ""]}}
    return Variant(name, changes, (), {}, name * 2, ())


@pytest.fixture
def table(write_results: Write) -> report.Table:
    facts = [(42, 0), (7, 0)]
    folders = {"baseline": write_results("base", BASE, {0: BASE, 1: BETTER}, facts),
               "better": write_results("better", BETTER, {0: BETTER, 1: BETTER}, facts),
               "elsewhere": write_results("elsewhere", {1: BASE[1]}, {0: {1: BASE[1]}, 1: {1: BASE[1]}}, facts)}
    names = ("baseline", "better", "elsewhere", "broken")
    plan = Plan("t", METRICS, BootstrapParams(resamples=100), 42, tuple(variant(name) for name in names))
    return report.build(plan, [Outcome(v, f"t-{v.name}", folders.get(v.name), "" if v.name in folders else "no memory")
                               for v in plan.variants])


def test_failed_and_incomparable_variants_are_told_apart(table: report.Table) -> None:
    assert [row.name for row in table.failed] == ["elsewhere", "broken"]
    assert table.rows[2].reason.startswith("not comparable: it is scored on other blocks")
    assert table.rows[3].reason == "failed: no memory"


def test_files_hold_the_table(table: report.Table, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        report.write(table, folder)
    assert [p.read_bytes() for p in sorted(folders[0].iterdir())] == [p.read_bytes() for p in
                                                                      sorted(folders[1].iterdir())]
    with (folders[0] / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["variant"], row["metric"]): row for row in csv.DictReader(file)}
    better = rows["better", "accuracy"]
    assert [float(better[key]) for key in ("value", "difference", "low", "over_seeds_mean")] == pytest.approx(
        [0.9, 0.05, 0.05, 0.025])
    assert better["seeds"] == "2"
    assert rows["baseline", "accuracy"]["difference"] == ""
    assert rows["broken", "accuracy"]["reason"] == "failed: no memory"
    page = (folders[0] / "table.md").read_text(encoding="utf-8")
    assert "| better | 0.9000 [0.8500, 0.9500] | +0.0500 [+0.0500, +0.0500] | +0.0250 [" in page
    assert "| better | 0.5000 | +0.0000 |  |" in page  # of objects no interval is known
    assert "| better | `train.x: {y: better\\|, on: [true, \"\"]}` | t-better |" in page
    assert "- broken failed: no memory" in page
    assert "Intervals are for each row alone" in page
    read = json.loads((folders[0] / "results.json").read_text(encoding="utf-8"))
    assert read["variants"][1]["scores"]["accuracy"]["by_seed"] == pytest.approx({"42": 0.05, "7": 0.0})
    assert read["variants"][1]["scores"]["objects.water.f1"]["difference"]["low"] is None


def test_the_terminal_shows_every_row(table: report.Table, capsys: pytest.CaptureFixture[str]) -> None:
    report.show(table)
    shown = capsys.readouterr().out
    assert "+0.0500 [+0.0500, +0.0500]" in shown
    assert "broken failed: no memory" in shown


def test_the_figure_is_drawn_of_the_results(table: report.Table, tmp_path: Path) -> None:
    report.write(table, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    for name in ("a.png", "b.png"):
        draw_ablation(results, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    results["variants"][1]["scores"]["accuracy"]["difference"]["value"] = 0.2
    draw_ablation(results, tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize(("out_of_fold", "members", "part"), [
    (True, {0: {1: BASE[1]}, 1: {2: BASE[2]}}, "Over folds: mean and standard deviation"),
    (False, None, "One seed: how far a repetition"),
])
def test_the_note_says_what_is_not_known(write_results: Write, out_of_fold: bool,
                                         members: dict[int, dict[int, list[list[int]]]] | None, part: str) -> None:
    facts = [(42, 0), (42, 1)] if members else [(42, 0)]
    folder = write_results("base", BASE, members, facts, out_of_fold=out_of_fold)
    plan = Plan("t", ("accuracy",), BootstrapParams(resamples=100), 42, (variant("baseline"), variant("a")))
    table = report.build(plan, [Outcome(v, v.name, folder) for v in plan.variants])
    assert part in table.note
