import json
from pathlib import Path

import numpy as np
from affine import Affine
from matplotlib.image import imread

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.reporting.export_figures import write_export_report

GRID = Grid("", Affine(10, 0, 0, 0, -10, 0), 40, 60)


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
    write_export_report(tmp_path / "report", tmp_path / "maps", ["land", "sea"],
                        ["#112233", "#4455ff"], {"parity": 1e-6})
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["map_a.png", "map_b.png", "metrics.json"]
    assert json.loads((tmp_path / "report/metrics.json").read_text()) == {"parity": 1e-6}
    pixels = (imread(tmp_path / "report/map_a.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    most = {tuple(c) for c, n in zip(colors.tolist(), counts.tolist(), strict=True) if n > 5000}
    assert {(0x11, 0x22, 0x33), (0x44, 0x55, 0xFF), (255, 255, 255)} <= most
    assert (153, 153, 153) in most  # 80 percent
    assert (tmp_path / "report/map_a.png").read_bytes() != b""
