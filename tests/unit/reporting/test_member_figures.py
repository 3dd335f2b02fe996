"""The spread of members: every value is a dot, and what is undefined or repeated is left out."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from pipeline.metrics.spread import spread
from pipeline.reporting import gate_figure, member_figures, score_tables
from pipeline.reporting.gate_figure import draw_gates
from pipeline.reporting.member_figures import draw_spread
from pipeline.reporting.score_tables import draw_class_table, draw_objects

Kept = dict[str, Any]


def plain(values: list[float | None]) -> Kept:
    made = vars(spread([v for v in values if v is not None], 0.95))
    return {key: None if value != value else value for key, value in made.items()}


def scored(*values: float | None) -> list[Kept]:
    return [{"mcc": v, "macro_iou": v, "iou": {"ice": v}} for v in values]


def over(rows: list[Kept]) -> Kept:
    summary = plain([row["mcc"] for row in rows])
    return {"mcc": summary, "macro_iou": summary, "iou": {"ice": summary}}


def metrics(folds: bool) -> Kept:
    members = [{"number": i, "seed": i // 2, "fold": i % 2 if folds else 0} for i in range(4)]
    by_member = scored(0.5, 0.6, None, 0.8)
    apart: Kept = {"by_member": {str(i): {**row, "fold": members[i]["fold"]} for i, row in enumerate(by_member)},
                   "over_members": over(by_member), "by_seed": {str(i): row for i, row in enumerate(scored(0.55, 0.7))},
                   "over_seeds": over(scored(0.55, 0.7))}
    if folds:
        apart |= {"by_fold": {str(i): row for i, row in enumerate(scored(0.4, None))},
                  "over_folds": over(scored(0.4, None))}
    return {"members": members, "out_of_fold": folds, "classes": ["ice"], "spread": {"refined": apart}}


def dots(monkeypatch: pytest.MonkeyPatch, content: Kept, file: Path) -> list[float]:
    """The values of all dots in the panel of MCC."""
    figures: list[Figure] = []
    save = member_figures.save
    monkeypatch.setattr(member_figures, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    draw_spread(content, "refined", "val", file)
    assert imread(file).std() > 0.01
    panel = figures[0].axes[0]
    return [float(line.get_xdata()[0]) for line in panel.lines if line.get_marker() == "o"]


def test_seeds_folds_and_members_are_dots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert dots(monkeypatch, metrics(folds=True), tmp_path / "a.png") == [0.55, 0.7, 0.4, 0.5, 0.6, 0.8]


def test_with_one_fold_seeds_are_members_and_shown_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert dots(monkeypatch, metrics(folds=False), tmp_path / "a.png") == [0.55, 0.7]


def test_tables_say_what_is_undefined_and_objects_show_all_methods(tmp_path: Path) -> None:
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    undefined = {"value": None, "low": None, "high": None}
    network = {score: {"ice": value, "lake": undefined} for score in ("iou", "precision", "recall", "f1", "class_mcc")}
    counts = {"truth": 4, "found": 1, "predicted": 3, "false": 2, "f1": 0.3,
              "intervals": {"f1": {"low": 0.1, "high": 0.4}}}
    content = {"classes": ["ice", "lake"], "truths": {"refined": {"network": network}},
               "objects": {"lake": {"network": counts, "majority": {**counts, "found": 0, "f1": None}}, "ice": {}}}
    draw_class_table(content, "refined", {"ice": "#ffffff", "lake": "#0000ff"}, "Scores", tmp_path / "table.png")
    draw_objects(content, "Objects", tmp_path / "objects.png")
    assert all(imread(tmp_path / name).std() > 0.01 for name in ("table.png", "objects.png"))


def words(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[str]:
    """Gets the words of every figure that a module saves."""
    found: list[str] = []
    monkeypatch.setattr(module, "save", lambda figure, _: found.extend(t.get_text() for t in figure.axes[0].texts))
    return found


def test_a_table_marks_what_some_resamples_do_not_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = words(monkeypatch, score_tables)
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    network = {score: {"ice": value, "lake": value} for score in ("iou", "precision", "recall", "f1", "class_mcc")}
    content = {"classes": ["ice", "lake"], "truths": {"refined": {"network": network}}}
    colors = {"ice": "#ffffff", "lake": "#0000ff"}
    draw_class_table(content, "refined", colors, "Scores", tmp_path / "x.png")
    assert not any("†" in text for text in texts)
    network["recall"] = {"ice": value, "lake": {**value, "defined": 0.65}}
    texts.clear()
    draw_class_table(content, "refined", colors, "Scores", tmp_path / "x.png")
    assert [text for text in texts if "†" in text] == [
        "0.400 to 0.600†", "† undefined in some resamples, which its interval leaves out"]


def test_a_gate_says_how_many_resamples_do_not_know_its_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = words(monkeypatch, gate_figure)
    missed = {"rule": ">= 0.6", "value": 0.6, "low": 0.6, "high": 0.6, "defined": 0.65, "held": False, "reason": "x"}
    draw_gates({"lake.iou": missed, "lake.recall": {**missed, "low": None, "high": None, "defined": 0.0}}, "Gates",
               tmp_path / "x.png")
    assert "missed  0.600 (0.600 to 0.600; undefined in 35 % of the resamples)" in texts
    assert "missed  0.600, undefined in 100 % of the resamples" in texts
