"""Dilation by a disc equals an exact distance transform."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from pipeline.geo.dilation import near, reach_px


def test_a_disc_by_hand() -> None:
    marked = np.zeros((7, 7), bool)
    marked[3, 3] = True
    found = near(marked, slice(0, 7), (10.0, 10.0), 20.0)
    assert found.sum(axis=1).tolist() == [0, 1, 3, 5, 3, 1, 0]
    assert near(marked, slice(0, 7), (10.0, 10.0), 9.9).sum() == 1
    flat = near(marked, slice(0, 2), (10.0, 5.0), 10.0)
    assert np.argwhere(flat).tolist() == [[1, 3]], "two rows of 5 m"


@pytest.mark.parametrize("seed", range(6))
def test_as_an_exact_distance_transform(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        height, width = rng.integers(1, 150, 2)
        marked = rng.random((height, width)) < rng.choice([0.0005, 0.02, 0.2])
        top = int(rng.integers(0, height))
        rows = slice(top, int(rng.integers(top, height)) + 1)
        pixel_m = (float(rng.choice([10.0, 7.3, 20.0])), float(rng.choice([10.0, 9.97, 31.0])))
        for distance_m in (0.0, 10.0, 14.2, 50.0, 333.0):
            distance = distance_transform_edt(~marked, sampling=pixel_m[::-1])
            expected = (distance <= distance_m) & marked.any()
            reach = reach_px(distance_m, pixel_m[1])
            first = max(0, rows.start - reach)
            part = marked[first:rows.stop + reach]  # no more rows than it asks for
            found = near(part, slice(rows.start - first, rows.stop - first), pixel_m, distance_m)
            assert np.array_equal(found, expected[rows])


def test_nothing_marked() -> None:
    assert not near(np.zeros((5, 4), bool), slice(1, 3), (10.0, 10.0), 1e4).any()
