"""The offset that spatial_split measures: of train ground alone, written with the split, told to the user."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from ruamel.yaml import YAML

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import memory_map, write
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.types import TEST_FOLD
from stages import spatial_split

GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), 192, 192)
CLASSES, BANDS = ["ground", "town"], ["red", "nir"]


def raw_params(**refine: Any) -> dict[str, Any]:
    return {
        "seed": 3,
        "task": {"bands": BANDS, "background": "ground",
                 "classes": [{"name": name, "color": "#808080"} for name in CLASSES]},
        "refine_labels": refine,
        "spatial_split": {"block_size_m": 480, "folds": 3, "test_fraction": 0.15, "buffer_m": 0, "min_pixels": 5,
                          "registration": {"tile_px": 96, "reach_px": 4}}}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A store of one scene whose labels lie 2 px (20 m) too far east."""
    paths, rng = Paths(tmp_path), np.random.default_rng(4)
    y, x = np.mgrid[:192, :192]
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    for row, col, radius in zip(rng.uniform(0, 192, 70), rng.uniform(0, 192, 70), rng.uniform(3, 9, 70), strict=True):
        truth[(y - row) ** 2 + (x - col) ** 2 < radius**2] = 1
    image = 500 + 400.0 * truth[..., None] * np.array([1, -1]) + rng.normal(0, 150, (*GRID.shape, 2))
    labels = np.roll(truth, 2, axis=1)
    write(paths.scenes / "town/image.tif", image.clip(1).astype(np.uint16), GRID, BANDS)
    for name, array in (("labels", labels), ("labels_raw", labels), ("valid", np.ones_like(labels))):
        write(paths.scenes / f"town/{name}.tif", array, GRID, [name])
    (paths.scenes / "manifest.json").write_text(json.dumps(
        {"bands": BANDS, "classes": CLASSES, "coverage": "exhaustive",
         "scenes": {"town": {"grid": GRID.to_dict(), "dtype": "uint16", "crs_name": GRID.crs_name}}}))
    return paths


def test_held_out_pixels_do_not_change_a_byte_of_it(paths: Paths) -> None:
    report = paths.report("spatial_split") / "registration.json"
    spatial_split.run(Params(raw_params()), paths)
    clean, fold = report.read_bytes(), np.array(memory_map(paths.splits / "town/fold.tif"))
    shift = json.loads(clean)["refine_labels.shift"]["town"]
    assert shift["east_m"] == pytest.approx(-20, abs=5)
    assert shift["north_m"] == pytest.approx(0, abs=5)
    image, held = np.array(memory_map(paths.scenes / "town/image.tif")), (fold == 0) | (fold == TEST_FOLD)
    assert 0.2 < held.mean() < 0.8
    image[held] = np.random.default_rng(5).integers(1, 60_000, (int(held.sum()), 2))
    write(paths.scenes / "town/image.tif", image, GRID, BANDS)
    spatial_split.run(Params(raw_params()), paths)
    np.testing.assert_array_equal(memory_map(paths.splits / "town/fold.tif"), fold)
    assert report.read_bytes() == clean


def test_the_user_is_told_once(paths: Paths, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(paths.root)

    def say(**refine: Any) -> list[str]:
        YAML().dump(raw_params(**refine), Path("params.yaml"))
        spatial_split.main()
        return capsys.readouterr().out.splitlines()

    first = say()
    assert first[0].startswith("spatial_split: train")
    assert "labels of scene town as acquired lie" in first[1]
    assert "m east" in first[1]
    wanted = json.loads((paths.report("spatial_split") / "registration.json").read_text())["refine_labels.shift"]
    assert len(say(shift=wanted)) == 1
