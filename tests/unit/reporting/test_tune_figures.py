"""Figures of a study: drawn with and without scores, equal for equal results."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from pipeline.reporting import tune_figures
from pipeline.reporting.tune_figures import draw_history, draw_importance


def trial(number: int, state: str, score: float | None) -> dict[str, Any]:
    return {"number": number, "state": state, "score": score}


RESULTS: dict[str, Any] = {
    "study": "short-0123456789", "metric": "macro_iou", "default": trial(0, "done", 0.5),
    "counts": {"done": 3, "pruned": 1, "failed": 1}, "importances": {"train.a": 0.75, "train.b": 0.25},
    "importances_note": "from 3 trials",
    "trials": [trial(0, "done", 0.5), trial(1, "lost", None), trial(2, "done", 0.7), trial(3, "pruned", 0.4),
               trial(4, "failed", None), trial(5, "done", 0.6)]}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures as they are saved."""
    kept: list[Figure] = []
    save = tune_figures.save
    monkeypatch.setattr(tune_figures, "save", lambda figure, path: (kept.append(figure), save(figure, path)))
    return kept


def test_history_has_trials_the_best_so_far_and_the_default(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_history(RESULTS, tmp_path / "history.png")
    lines = {line.get_label(): line for line in drawn[0].axes[0].get_lines()}
    assert list(lines["trial"].get_xdata()) == [0, 2, 5]
    assert list(lines["best so far"].get_ydata()) == [0.5, 0.7, 0.7, 0.7]
    assert list(lines["params.yaml"].get_ydata()) == [0.5, 0.5]
    assert list(lines["pruned, last score"].get_ydata()) == [0.4]
    assert list(lines["failed"].get_xdata()) == [4]
    draw_history(RESULTS, tmp_path / "again.png")
    assert (tmp_path / "history.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_history_without_a_score_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_history({**RESULTS, "default": None, "trials": [trial(0, "failed", None)]}, tmp_path / "history.png")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["no trial has a score"]
    draw_history({**RESULTS, "default": None, "trials": []}, tmp_path / "empty.png")


def test_importance_has_a_bar_a_key_or_the_reason(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_importance(RESULTS, tmp_path / "importance.png")
    assert [bar.get_width() for bar in drawn[0].axes[0].patches] == [0.25, 0.75]
    reason = "too few trials for importances: 3 have a score, and 10 are needed"
    draw_importance({**RESULTS, "importances": None, "importances_note": reason}, tmp_path / "none.png")
    assert [text.get_text() for text in drawn[1].axes[0].texts] == [reason]
