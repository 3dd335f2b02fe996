"""Figures of exported maps: thinned as they are read, in the colours of their classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from matplotlib.image import imread

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.reporting import export_figures
from pipeline.reporting.export_figures import write_export_report
from pipeline.reporting.figure_style import thinned

GRID = Grid("", Affine(10, 0, 0, 0, -10, 0), 40, 60)


def test_maps_are_thinned_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).integers(0, 9, (2050, 30)).astype(np.uint8)
    write(tmp_path / "map.tif", array, Grid("", GRID.transform, 2050, 30), ["class"])
    for rows in (512, 7, 1):
        monkeypatch.setattr(export_figures, "_ROWS", rows)
        assert np.array_equal(export_figures._thinned(tmp_path / "map.tif"), thinned(array))


def test_every_map_is_drawn_in_its_colours(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "report").mkdir()
    classes = np.zeros(GRID.shape, dtype=np.uint8)
    classes[:, 30:] = 1
    classes[:10] = 255
    for scene in ("a", "b"):
        write(tmp_path / f"maps/{scene}_class.tif", classes, GRID, ["class"], nodata=255)
        write(tmp_path / f"maps/{scene}_confidence.tif", np.where(classes == 255, 255, 80).astype(np.uint8), GRID,
              ["confidence_percent"], nodata=255)
    summary = {"parity": 1e-6, "shares": {scene: {"land": 0.5, "sea": 0.5} for scene in ("a", "b")}}
    write_export_report(tmp_path / "report", tmp_path / "maps", ["land", "sea"],
                        ["#112233", "#4455ff"], summary)
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["map_a.png", "map_b.png", "metrics.json"]
    assert json.loads((tmp_path / "report/metrics.json").read_text()) == summary
    pixels = (imread(tmp_path / "report/map_a.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    most = {tuple(c) for c, n in zip(colors.tolist(), counts.tolist(), strict=True) if n > 5000}
    assert {(0x11, 0x22, 0x33), (0x44, 0x55, 0xFF), (255, 255, 255)} <= most
    assert (153, 153, 153) in most  # 80 percent
    assert (tmp_path / "report/map_a.png").read_bytes() != b""
