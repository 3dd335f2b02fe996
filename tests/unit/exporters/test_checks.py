"""Checks of finished maps and counts: each fault is named, and shares outside their bounds are said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import IntegrityError
from pipeline.exporters import checks
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write, write_cog
from pipeline.metrics.confusion import Confusion
from pipeline.params.export import ShareBounds
from pipeline.types import Window

GRID = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700_000, 0, -10, 9_310_000), 600, 40)
CLASSES = ("land", "town")


def cog(folder: Path, classes: np.ndarray | None = None, tags: dict[str, str] | None = None) -> Path:
    values = np.zeros(GRID.shape, dtype=np.uint8) if classes is None else classes
    write(folder / "plain.tif", values, GRID, ["class"], 255, tags)
    write_cog(folder / "cog.tif", folder / "plain.tif", "mode")
    return folder / "cog.tif"


def test_a_cog_passes(tmp_path: Path) -> None:
    checks.check_cog(cog(tmp_path, tags={"A": "1"}), GRID, {"A": "1"})


def test_a_plain_tiff_is_no_cog(tmp_path: Path) -> None:
    cog(tmp_path)
    with pytest.raises(IntegrityError, match=r"plain\.tif must be laid out as a Cloud Optimized GeoTIFF 'COG': got ''"):
        checks.check_cog(tmp_path / "plain.tif", GRID, {})


def test_missing_tag_and_other_grid_are_named(tmp_path: Path) -> None:
    path = cog(tmp_path, tags={"A": "1"})
    with pytest.raises(IntegrityError, match="carry tag A '2': got '1'"):
        checks.check_cog(path, GRID, {"A": "2"})
    with pytest.raises(IntegrityError, match="have shape"):
        checks.check_cog(path, Grid(GRID.crs_wkt, GRID.transform, 601, 40), {})
    with pytest.raises(IntegrityError, match="have CRS"):
        checks.check_cog(path, Grid("", GRID.transform, 600, 40), {})
    with pytest.raises(IntegrityError, match="have geotransform"):
        checks.check_cog(path, GRID.crop(Window(1, 0, 600, 40)), {})


def table() -> pd.DataFrame:
    rows = [("val", "refined", "network", 0, "s", 7, 0, 0, 10), ("val", "refined", "network", 0, "s", 7, 1, 0, 3),
            ("val", "refined", "network", 0, "s", 9, 1, 1, 2), ("val", "refined", "majority", 0, "s", 7, 0, 0, 99),
            ("test", "refined", "network", 0, "s", 11, 0, 0, 5)]
    return pd.DataFrame(rows, columns=["part", "truth", "method", "member", "scene", "block", "true", "predicted",
                                       "count"])


def test_recorded_counts_are_those_of_the_network_on_val() -> None:
    assert checks.recorded_confusions(table(), "val", 2) == {
        "refined": {7: Confusion(np.array([[10, 0], [3, 0]])), 9: Confusion(np.array([[0, 0], [0, 2]]))}}


def test_first_differing_block_is_named() -> None:
    recorded = checks.recorded_confusions(table(), "val", 2)
    checks.check_confusions(recorded, recorded, CLASSES)
    moved = {"refined": {**recorded["refined"], 9: Confusion(np.array([[0, 0], [1, 1]]))}}
    with pytest.raises(IntegrityError, match="block 9 against refined has 1 pixels of town mapped as land, and "
                                             "evaluate counted 0"):
        checks.check_confusions(recorded, moved, CLASSES)
    fewer = {"refined": {7: recorded["refined"][7]}}
    with pytest.raises(IntegrityError, match="block 9"):
        checks.check_confusions(recorded, fewer, CLASSES)
    more = {**recorded, "reference": {1: Confusion(np.array([[1, 0], [0, 0]]))}}
    with pytest.raises(IntegrityError, match="block 1 against reference"):
        checks.check_confusions(recorded, more, CLASSES)
    with pytest.raises(IntegrityError, match="val blocks: got none"):
        checks.check_confusions({}, recorded, CLASSES)


def test_shares_are_of_valid_pixels(tmp_path: Path) -> None:
    classes = np.zeros(GRID.shape, dtype=np.uint8)
    classes[550:] = 1
    classes[:100] = 255
    assert checks.class_shares(cog(tmp_path, classes), CLASSES) == {"land": 0.9, "town": 0.1}


@pytest.mark.parametrize(("value", "said"), [(255, "got 0 valid pixels, 0 of them"), (2, "24000 of them of no class")])
def test_maps_of_nothing_and_of_unknown_classes(tmp_path: Path, value: int, said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        checks.class_shares(cog(tmp_path, np.full(GRID.shape, value, dtype=np.uint8)), CLASSES)


def test_shares_outside_the_bounds_are_said() -> None:
    bounds = {"town": ShareBounds(min=0.01, max=0.3)}
    checks.check_shares("s", {"land": 0.9, "town": 0.1}, bounds)
    with pytest.raises(IntegrityError, match=r"scene s must have a share of town from 0\.01 to 0\.3 .*: got 0\.005;"):
        checks.check_shares("s", {"land": 0.995, "town": 0.005}, bounds)
    with pytest.raises(IntegrityError, match=r"got 0\.31;"):
        checks.check_shares("s", {"land": 0.69, "town": 0.31}, bounds)


def test_bounds_of_a_merged_class_are_a_warning() -> None:
    checks.warn_unused(["town"], CLASSES)
    with pytest.warns(UserWarning, match="export.class_shares.quay has no effect"):
        checks.warn_unused(["quay"], CLASSES)
