"""Maps of a scene: what they hold and say of themselves, equal bytes, and nothing left after a failure."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.exporters.maps import map_tags, percent, rgb, write_maps
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import cog_layout, describe, read
from pipeline.params.evaluate import TileParams
from pipeline.types import BoolArray, FloatArray, Window

TILES = TileParams(size_px=64, overlap_px=16)
COLORS = ("#102030", "#ff0000", "#0000ff")


class Stripes:
    """A source of one band: 70 x 90 px whose value is col // 30, with an invalid corner; remembers what was read."""

    bands = ("a",)
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 7e5, 0, -10, 9.3e6), 70, 90)

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def read(self, window: Window) -> FloatArray:
        self.windows.append(window)
        values = np.tile(np.arange(90, dtype=np.float32) // 30, (70, 1))
        values[60:, :10] = np.nan
        return values[window.slices][None]

    def valid(self, window: Window) -> BoolArray:
        return ~np.isnan(self.read(window)[0])


class ByValue:
    """Says the class that the value names, with a probability of 0.9."""

    bands, classes = ("a",), ("land", "town", "sea")

    def probabilities(self, image_NCHW: FloatArray) -> FloatArray:
        value = np.nan_to_num(image_NCHW[:, 0])
        return np.stack([np.where(value == k, 0.9, 0.05) for k in range(3)], axis=1).astype(np.float32)


def test_maps_hold_classes_and_whole_percent(tmp_path: Path) -> None:
    files = write_maps(ByValue(), Stripes(), TILES, tmp_path, "bay", COLORS, map_tags("ab", ByValue.classes))
    classes, confidence = read(files.class_map), read(files.confidence)
    expected = np.tile(np.arange(90) // 30, (70, 1))
    expected[60:, :10] = 255
    assert (classes == expected).all()
    assert (confidence[expected != 255] == 90).all()
    assert (confidence[expected == 255] == 255).all()
    assert files.shares == pytest.approx({"land": 2000 / 6200, "town": 2100 / 6200, "sea": 2100 / 6200})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bay_class.qml", "bay_class.tif", "bay_confidence.tif"]


def test_maps_say_what_they_are(tmp_path: Path) -> None:
    files = write_maps(ByValue(), Stripes(), TILES, tmp_path, "bay", COLORS, map_tags("ab", ByValue.classes))
    for path, band in ((files.class_map, "class"), (files.confidence, "confidence_percent")):
        info = describe(path)
        assert (info.bands, info.nodata, info.dtype) == ((band,), 255, "uint8")
        assert info.tags["KUMULUS_PROVENANCE"] == "ab"
        assert info.tags["KUMULUS_CLASSES"] == '["land", "town", "sea"]'
        assert cog_layout(path).layout == "COG"
    table = cog_layout(files.class_map).colormap
    assert table is not None
    assert [table[i][:3] for i in range(3)] == [(16, 32, 48), (255, 0, 0), (0, 0, 255)]
    assert cog_layout(files.confidence).colormap is None


def test_equal_input_equal_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = write_maps(ByValue(), Stripes(), TILES, tmp_path / name, "bay", COLORS, {})
        written.append([p.read_bytes() for p in files.paths])
    assert written[0] == written[1]


def test_no_read_is_larger_than_a_row_of_tiles(tmp_path: Path) -> None:
    source = Stripes()
    write_maps(ByValue(), source, TILES, tmp_path, "bay", COLORS, {})
    assert max(w.height for w in source.windows) <= TILES.size_px


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    class Broken(ByValue):
        def probabilities(self, image_NCHW: FloatArray) -> FloatArray:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        write_maps(Broken(), Stripes(), TILES, tmp_path, "bay", COLORS, {})
    assert list(tmp_path.iterdir()) == []


def test_percent_rounds_and_keeps_invalid_apart() -> None:
    values = np.array([0, 0.334, 0.336, 1, np.nan], dtype=np.float32)
    assert percent(values).tolist() == [0, 33, 34, 100, 255]
    assert rgb("#0aFF10") == (10, 255, 16)
