"""Where the conditions of rules hold in an image, and where a threshold of Otsu's can be had."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ParamsError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.labels.evidence import Evidence
from pipeline.params.refine_labels import IndexRule


def rule(**changes: Any) -> IndexRule:
    return IndexRule.model_validate({"target": "vegetation", "index": "NDVI", "above": 0.4, **changes})


def otsu(low: float, high: float, **changes: Any) -> IndexRule:
    return rule(**{"above": None, "method": "otsu", "bounds": (low, high), **changes})


@pytest.fixture
def scene(tmp_path: Path, grid: Grid) -> Path:
    """Four pixels: NDVI 0.6, 0.33, no data in red, 0.4."""
    red, nir, other = [1000, 1000, 0, 3000], [4000, 2000, 4000, 7000], [0, 1, 1, 1]
    image = np.array([red, nir, other], dtype=np.int16).T[None]
    small = Grid(grid.crs_wkt, grid.transform, 1, 4)
    raster_io.write(tmp_path / "s.tif", np.ascontiguousarray(image), small, ["red", "nir", "other"], nodata=0)
    return tmp_path / "s.tif"


def test_conditions_hold_where_the_needed_bands_have_data(scene: Path) -> None:
    rules = (rule(above=0.35), rule(index="DVI", above=None, below=0.35))
    holds = Evidence(scene, rules, 10000).holds([0.35, 0.35])
    assert holds.tolist() == [[3, 2, 0, 1]]  # DVI is 0.3, 0.1, none, 0.4


def test_the_order_of_bits_is_that_of_rules_however_many(scene: Path) -> None:
    rules = tuple(rule() for _ in range(11))
    holds = Evidence(scene, rules, 10000).holds([0.35] * 10 + [0.5])
    assert holds.dtype == np.uint16
    assert holds.tolist() == [[2047, 0, 0, 1023]]


def test_bands_and_threads_change_nothing(tmp_path: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).integers(0, 5000, (*grid.shape, 2)).astype(np.uint16)
    raster_io.write(tmp_path / "s.tif", image, grid, ["red", "nir"], nodata=0)
    evidence = Evidence(tmp_path / "s.tif", (rule(), otsu(-1, 1, target="soil", otsu_side="below")), 10000)
    results = []
    for rows, threads in ((100, "1"), (7, "1"), (7, "3")):
        monkeypatch.setattr("pipeline.labels.evidence._BAND_PX", rows * grid.width)
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        thresholds = evidence.thresholds()
        results.append((thresholds, evidence.holds(thresholds).tobytes()))
    assert results[0] == results[1] == results[2]


def test_otsu_lies_between_the_two_kinds_of_ground(scene: Path) -> None:
    thresholds = Evidence(scene, (rule(), otsu(0.3, 0.6)), 10000).thresholds()
    assert thresholds[0] == 0.4
    assert thresholds[1] == pytest.approx((0.4 + 0.6) / 2, rel=1e-3)


@pytest.mark.parametrize(("low", "high"), [(-0.2, 0.4), (0.55, 0.9)])
def test_a_threshold_outside_its_bounds_is_refused_not_clipped(scene: Path, low: float, high: float) -> None:
    words = rf"NDVI must lie within refine_labels.rules\[1\].bounds \[{low:g}, {high:g}\]: scene s gives 0.5"
    with pytest.raises(SceneError, match=words):
        Evidence(scene, (rule(), otsu(low, high)), 10000).thresholds()


def test_one_kind_of_ground_has_no_threshold(tmp_path: Path, grid: Grid) -> None:
    image = np.full((*grid.shape, 2), 1000, dtype=np.uint16)
    raster_io.write(tmp_path / "flat.tif", image, grid, ["red", "nir"])
    with pytest.raises(SceneError, match="needs two values of NDVI at least: scene flat has fewer"):
        Evidence(tmp_path / "flat.tif", (otsu(-1, 1),), 10000).thresholds()


@pytest.mark.parametrize(("index", "error", "words"), [
    ("NDWI", SceneError, "green"), ("NDVY", ParamsError, "did you mean"),
])
def test_indices_that_cannot_be_computed(scene: Path, index: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Evidence(scene, (rule(index=index),), 10000).holds([0.0])
