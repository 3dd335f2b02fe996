"""Curves hold every member's history; several members are thin lines in their fold's colour, with their mean."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.reporting import train_figures
from pipeline.reporting.figure_style import SERIES
from pipeline.reporting.train_figures import draw_curves, read_curves
from tests.unit.evaluation.small_store import write_checkpoint, write_store

HEADER = "epoch,lr,train_loss,share_background,share_water,val_mcc,val_macro_iou,val_iou_water\n"
ROWS = ("1,0.1,2.5,0.9,0.1,,0.3,0.1\n2,0.05,1.5,0.8,0.2,0.4,0.5,0.2\n",
        "1,0.1,2.4,0.7,0.3,0.2,0.3,0.1\n2,0.05,1.4,0.6,0.4,0.5,0.6,0.3\n3,0.01,1.0,0.6,0.4,0.6,0.6,0.3\n")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_store(tmp_path)


def drawn(paths: Paths, monkeypatch: pytest.MonkeyPatch, file: Path) -> dict[str, list[tuple[str, list[float]]]]:
    """Panel -> colour and values of each line."""
    shown: dict[str, list[tuple[str, list[float]]]] = {}
    finish = train_figures._finish

    def kept(axis, title):
        shown[title] = [(line.get_color(), line.get_ydata().tolist()) for line in axis.lines]
        finish(axis, title)

    monkeypatch.setattr(train_figures, "_finish", kept)
    draw_curves(file, read_curves(paths.checkpoint))
    assert imread(file).std() > 0.01
    return shown


def test_a_single_member_shows_all_its_scores(paths, tmp_path, monkeypatch):
    write_checkpoint(paths)
    (paths.checkpoint / "members/0/history.csv").write_text(HEADER + ROWS[0])
    shown = drawn(paths, monkeypatch, tmp_path / "curves.png")
    assert [values for _, values in shown["Training loss"]] == [[2.5, 1.5]]
    assert [values for _, values in shown["Scores on val"]] == [[0.4], [0.3, 0.5], [0.1, 0.2]]  # undefined: left out
    assert set(shown) == {"Training loss", "Scores on val", "Learning rate", "Classes of the pixels drawn"}


def test_members_have_their_fold_s_colour_and_a_mean_over_those_that_got_so_far(paths, tmp_path, monkeypatch):
    write_checkpoint(paths, pairs=[(1, 0), (1, 2)])
    for member in range(2):
        (paths.checkpoint / f"members/{member}/history.csv").write_text(HEADER + ROWS[member])
    shown = drawn(paths, monkeypatch, tmp_path / "curves.png")
    (first, losses), (second, _), (_, mean) = shown["Training loss"]
    assert (first, second) == SERIES[:2]
    assert losses == [2.5, 1.5]
    assert mean == pytest.approx([2.45, 1.45, 1.0])
    assert shown["MCC on val"][-1][1] == pytest.approx([0.2, 0.45, 0.6])
    assert set(shown) >= {"Macro IoU on val", "Classes of the pixels drawn"}


def test_histories_without_shares_draw_too(paths, tmp_path, monkeypatch):
    write_checkpoint(paths)
    assert set(drawn(paths, monkeypatch, tmp_path / "curves.png")) == {"Training loss", "Scores on val",
                                                                         "Learning rate"}


def test_no_member_no_curves(paths):
    with pytest.raises(ModelError, match="must hold members/0"):
        read_curves(paths.checkpoint)
