"""Every way in which a raster says that a pixel has no data."""

import numpy as np
import pytest
from scipy.ndimage import label

from pipeline.geo.nodata import EdgeArea, fitting_nodata, has_data


@pytest.mark.parametrize(("pixels", "nodata", "expected"), [
    (np.array([0, 5], np.uint16), 0, [False, True]),
    (np.array([0, 5], np.uint16), None, [True, True]),
    (np.array([0, 5], np.uint16), -9999, [True, True]),
    (np.array([-32768, 5], np.int16), -32768, [False, True]),
    (np.array([np.nan, np.inf, 3.4e38, -3.4e38, 0.1], np.float32), None, [False, False, False, False, True]),
    (np.array([np.float32(3.4e38), 0.1], np.float32), 3.3999999521443642e38, [False, True]),
    (np.array([0.1, 0.2], np.float32), 0.1, [False, True]),
    (np.array([-9999.0, 0.2]), -9999, [False, True]),
    (np.array([1e39, 0.2]), float("nan"), [False, True]),
])
def test_every_way_of_saying_nothing(pixels: np.ndarray, nodata: float | None, expected: list[bool]) -> None:
    assert has_data(pixels, nodata).tolist() == expected


@pytest.mark.parametrize(("nodata", "dtype", "expected"), [
    (0, "uint8", 0), (-1, "uint8", None), (0.5, "int16", None), (256, "uint8", None), (float("nan"), "float32", None),
    (3.4e38, "float32", None), (-9999, "float32", -9999), (None, "int16", None),
])
def test_only_values_the_dtype_has(nodata: float | None, dtype: str, expected: float | None) -> None:
    assert fitting_nodata(nodata, np.dtype(dtype)) == expected


def edge_area(marked: np.ndarray, rows: int) -> int:
    area = EdgeArea(*marked.shape)
    for row in range(0, len(marked), rows):
        area.add(marked[row:row + rows])
    return area.pixels()


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_only_what_is_connected_to_the_edge_counts(rows: int) -> None:
    marked = np.array([[1, 0, 0, 0, 0, 0, 0],
                       [1, 0, 1, 1, 1, 0, 0],
                       [1, 0, 1, 0, 1, 0, 0],
                       [1, 0, 1, 0, 1, 1, 1],
                       [0, 0, 0, 0, 0, 0, 0],
                       [0, 1, 1, 0, 0, 1, 0],
                       [0, 0, 0, 0, 0, 0, 1]], dtype=bool)
    # 4 on the left; the arch of 3 + 2 + 2 + 2 reaches the right edge; a corner pixel; the pair and the single do not.
    assert edge_area(marked, rows) == 4 + 3 + 2 + 4 + 1


@pytest.mark.parametrize("seed", range(4))
def test_row_bands_of_any_height_agree(seed: int) -> None:
    marked = np.random.default_rng(seed).random((23, 17)) < 0.55
    found, _ = label(marked)
    edge = np.unique(np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]))
    expected = int(np.isin(found, edge[edge > 0]).sum())
    assert [edge_area(marked, rows) for rows in (1, 4, 23)] == [expected] * 3


def test_nothing_marked() -> None:
    assert edge_area(np.zeros((4, 4), dtype=bool), 2) == 0
