"""Figures: which blocks are worst, what a crop shows, colours; and that all of them come out for both parts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from pipeline.evaluation.part import PartScores, score_part
from pipeline.evaluation.permit import unsealing
from pipeline.reporting import evaluate_figures, figure_style
from pipeline.reporting.evaluate_figures import _crop, draw_all, worst_blocks
from pipeline.reporting.figure_style import color_legend
from tests.unit.evaluation.small_store import CHEAP, RedPredictor, params, write_store


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> PartScores:
    paths = write_store(tmp_path_factory.mktemp("figures"))
    return score_part(params(baselines=CHEAP), paths, "val", RedPredictor(wrong=9))


def table(*blocks: tuple[int, int, int]) -> pd.DataFrame:
    """(block, right, wrong) of the network against the reference, and rows that must not be looked at."""
    rows = []
    for block, right, wrong in blocks:
        rows += [("reference", "network", "s", block, 0, 0, right), ("reference", "network", "s", block, 0, 1, wrong),
                 ("reference", "majority", "s", block, 0, 1, 10**6), ("refined", "network", "s", block, 1, 0, 10**6)]
    return pd.DataFrame(rows, columns=["truth", "method", "scene", "block", "true", "predicted", "count"])


def test_worst_blocks_come_first_and_small_ones_do_not_compete() -> None:
    chosen = worst_blocks(table((1, 90, 10), (2, 50, 50), (3, 0, 5), (4, 70, 30)), "reference", most=2)
    assert chosen["block"].tolist() == [2, 4]
    assert chosen["accuracy"].tolist() == [0.5, 0.7]
    assert chosen["pixels"].tolist() == [100, 100]


def test_a_crop_keeps_its_size_at_the_edge(scores: PartScores, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = scores.views[0].ground
    # Blocks of 16 px, six in a row of 96 px, numbered from 1; with margins of 6 px a crop has 28.
    for pixels in (1_000_000, 5 * 96):
        monkeypatch.setattr("pipeline.evaluation.truths._BAND_PIXELS", pixels)
        assert _crop(ground, 6) == (slice(0, 28), slice(68, 96))
        assert _crop(ground, 9) == (slice(10, 38), slice(26, 54))


def test_rgb_takes_bands_by_name_and_leaves_invalid_white() -> None:
    image = np.zeros((2, 50, 4))
    image[..., 2] = np.arange(100).reshape(2, 50)
    valid = np.ones((2, 50), dtype=bool)
    valid[0, 0] = False
    shown = figure_style.rgb(image, ("blue", "green", "red", "nir"), valid)
    assert shown[0, 0].tolist() == [1, 1, 1]
    assert shown[1, -1].tolist() == [1, 0, 0]
    assert shown[0, 1, 0] == 0
    grey = figure_style.rgb(image[..., 2:3], ("thermal",), valid)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()


def test_rgb_of_nothing_valid_is_white() -> None:
    nothing = np.zeros((3, 3), dtype=bool)
    assert (figure_style.rgb(np.full((3, 3, 3), np.nan), ("red", "green", "blue"), nothing) == 1).all()


def test_class_colours_and_the_unknown() -> None:
    shown = figure_style.class_image(np.array([[0, 1, 255]], dtype=np.uint8), ["#ff0000", "#00ff00"], "#0000ff")
    assert shown.tolist() == [[[1, 0, 0], [0, 1, 0], [0, 0, 1]]]


def test_large_scenes_are_thinned() -> None:
    assert figure_style.thinned(np.zeros((2500, 10))).shape == (834, 4)
    assert figure_style.thinned(np.zeros((1000, 10))).shape == (1000, 10)


def test_all_figures_come_out_and_are_pictures(scores: PartScores, tmp_path: Path) -> None:
    draw_all(scores, tmp_path)
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["class_table.png", "confusion.png", "objects.png", "overview_one.png", "scores_reference.png",
                     "scores_refined.png", "scores_unrefined.png", "worst_blocks.png"]
    assert all(imread(tmp_path / name).std() > 0.01 for name in files)


def test_the_overview_shows_no_truth_of_sealed_ground(scores: PartScores) -> None:
    ground = scores.views[0].ground.cut(slice(None), slice(None))
    sealed = ~ground.visible_HW
    assert sealed.sum() > 1000
    for truth in ground.truths.values():
        shown = figure_style.class_image(truth, scores.colors)
        assert (shown[sealed] == 1).all()


def test_the_test_part_draws_too_without_methods_to_compare(tmp_path: Path) -> None:
    paths = write_store(tmp_path, reference=False)
    alone = params(baselines={**CHEAP, "majority": False, "index_rules": []}, object_classes=[])
    with unsealing(paths) as permit:
        scores = score_part(alone, paths, "test", RedPredictor(), permit)
    assert "unknown" in evaluate_figures._legend(scores)
    draw_all(scores, tmp_path)
    assert (tmp_path / "scores_refined.png").exists()


def test_a_legend_of_many_classes_stays_inside_a_narrow_figure() -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    figure.subplots()
    color_legend(figure, {f"coffee plantation {i}": "#112233" for i in range(9)})
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
