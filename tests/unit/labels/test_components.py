"""Connected areas are claimed alike however many rows are read at once."""

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from scipy import ndimage

from pipeline.geo.grid import Grid
from pipeline.geo.ground import Ground
from pipeline.labels.components import claim_ground
from pipeline.types import AnyArray


def ground_of(shape: tuple[int, ...]) -> Ground:
    return Ground(Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 500000, 0, -10, 9310000), *shape))


def by_hand(mask: AnyArray, least_px: int) -> AnyArray:
    areas, count = ndimage.label(mask)
    large = np.bincount(areas.ravel(), minlength=count + 1) >= least_px
    large[0] = False
    return large[areas]


@pytest.mark.parametrize("rows", [1, 2, 5, 13, 100])
@pytest.mark.parametrize("share", [0.3, 0.55, 0.7])
def test_bands_of_any_height_claim_the_same_areas(rows: int, share: float) -> None:
    mask = np.random.default_rng(int(share * 100)).random((40, 31)) < share
    claims = np.zeros(mask.shape, dtype=np.uint8)
    found = claim_ground(mask.astype(np.uint8), 1, claims, 5, ground_of(mask.shape), 795, rows * 31)
    expected = by_hand(mask, 8)  # a pixel has 100.08 m2 at the central meridian
    assert np.array_equal(claims, 5 * expected)
    assert found.components == ndimage.label(expected)[1]
    assert found.area_m2 == pytest.approx(100.08 * expected.sum(), rel=1e-4)


def test_combs_and_spirals_are_one_area() -> None:
    comb = np.zeros((30, 41), dtype=np.uint8)
    comb[:, ::2] = 1
    comb[-1] = 1
    for rows in (1, 7, 30):
        claims = np.zeros(comb.shape, dtype=np.uint8)
        assert claim_ground(comb, 1, claims, 1, ground_of(comb.shape), 0, rows * 41).components == 1
        assert np.array_equal(claims, comb)


def test_only_its_own_condition_and_only_unclaimed_ground() -> None:
    holds = np.array([[1, 3, 2, 2], [1, 3, 2, 2]], dtype=np.uint16)
    claims = np.zeros(holds.shape, dtype=np.uint8)
    claims[:, 3] = 9
    claim_ground(holds, 2, claims, 4, ground_of(holds.shape), 0)
    assert claims.tolist() == [[0, 4, 4, 9]] * 2


def test_nothing_to_claim() -> None:
    for rows in (1, 10):
        claims = np.zeros((10, 10), dtype=np.uint8)
        found = claim_ground(np.zeros((10, 10), dtype=np.uint8), 1, claims, 1, ground_of((10, 10)), 0, rows * 10)
        assert (found.components, found.area_m2) == (0, 0)
