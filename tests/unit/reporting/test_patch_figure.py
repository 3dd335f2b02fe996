"""The contact sheet shows patches turned as in training, in the classes' colours, and what is out of sight."""

import numpy as np
import pytest

from pipeline.patches.batch import collate
from pipeline.patches.source import Patch
from pipeline.reporting import patch_figure
from pipeline.reporting.figure_style import class_image
from pipeline.types import Window


def patch(turn=0):
    """Red to the right; class 1 in the upper row; the lower left pixel hidden, the lower right one without label."""
    image = np.array([[[10, 50], [90, 50]], [[10, 50], [90, np.nan]]], np.float32)
    return Patch(image, np.array([[2, 2], [0, 1]], np.uint8), np.ones((2, 2), np.uint8),
                 np.array([[1, 1], [0, 0]], np.uint8), np.array([[1, 0.5], [1, 1]], np.float32), turn, "a",
                 Window(0, 0, 2, 2))


@pytest.fixture
def shown(monkeypatch):
    """Titles and pictures instead of axes."""
    seen = []
    monkeypatch.setattr(patch_figure, "show", lambda axes, picture, title: seen.append((title, picture)))
    return seen


def draw(file, patches):
    patch_figure.draw_patches(file, collate(patches), ("red", "nir"), (50.0, 40.0), ("ice", "lake"),
                              ("#ffff00", "#0000ff"))


def test_panels(tmp_path, shown):
    draw(tmp_path / "p.png", [patch(), patch(turn=2)])
    assert [title for title, _ in shown] == ["image, patches 0 to 1", "labels", "weight"]
    image, labels, weight = (picture for _, picture in shown)
    assert image.shape == (2, 2 + 4 + 2, 3)
    blue, white, grey, ink = [0, 0, 1], [1, 1, 1], [201 / 255] * 3, [34 / 255] * 3
    accent = np.array([31, 95, 168]) / 255
    np.testing.assert_allclose(labels[:, :2], [[blue, blue], [white, white]])
    np.testing.assert_allclose(labels[:, 6:], [[white, white], [blue, blue]])
    np.testing.assert_allclose(weight[:, :2], [[accent, (1 + accent) / 2], [ink, grey]])
    np.testing.assert_allclose(weight[:, 6:], [[grey, ink], [(1 + accent) / 2, accent]])
    # Stretched over all patches at once; what is hidden is white; an undefined channel is its mean.
    assert image[0, 0, 0] < 0.1
    assert image[0, 1, 0] > 0.9
    assert image[1, 0].tolist() == white
    assert image[1, 1, 1] < image[0, 1, 1]
    assert image[0, 3].tolist() == white


def test_rows_of_eight(tmp_path, shown):
    draw(tmp_path / "p.png", [patch()] * 11)
    titles = [title for title, _ in shown]
    assert titles == ["image, patches 0 to 7", "labels", "weight", "image, patches 8 to 10", "labels", "weight"]
    assert len({picture.shape for _, picture in shown}) == 1
    assert (shown[-1][1][:, 3 * 6:] == 1).all()


def test_equal_patches_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, [patch(turn) for turn in range(8)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert class_image(np.array([[1]], np.uint8), ["#000000", "#ff0000"])[0, 0].tolist() == [1, 0, 0]
