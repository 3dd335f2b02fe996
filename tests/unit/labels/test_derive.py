from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.vector_io import burn
from pipeline.labels.derive import index_mask, polygons_above, tiles_of
from pipeline.params.refine_labels import IndexRule

NDVI = IndexRule(target="vegetation", index="NDVI", above=0.4)


def test_mask_of_reflectance_on_pixels_with_data(tmp_path: Path, grid: Grid) -> None:
    small = Grid(grid.crs_wkt, grid.transform, 1, 4)
    red, nir = [1000, 1000, 0, 3000], [4000, 2000, 4000, 7000]
    image = np.array([red, nir, [1, 1, 1, 1]], dtype=np.int16).T[None]
    raster_io.write(tmp_path / "s.tif", np.ascontiguousarray(image), small, ["red", "nir", "other"], nodata=0)
    assert index_mask(tmp_path / "s.tif", NDVI, 10000).tolist() == [[True, False, False, False]]
    with pytest.raises(SceneError, match="green"):
        index_mask(tmp_path / "s.tif", IndexRule(target="water", index="NDWI", above=0), 10000)


def test_only_areas_of_the_minimum_size_are_traced(grid: Grid) -> None:
    mask = np.zeros(grid.shape, dtype=np.bool_)
    mask[5:10, 5:10] = True
    mask[7, 7] = False
    mask[20:22, 20:22] = True
    mask[22, 22] = True
    polygons, pixels = polygons_above(mask, grid, 5 * 100)
    assert len(polygons) == 1
    assert polygons.iloc[0].area == pytest.approx(2400)
    assert pixels.sum() == 24
    assert not pixels[7, 7]
    everything, all_pixels = polygons_above(mask, grid, 0)
    assert np.array_equal(all_pixels, mask)
    assert everything.area.sum() == pytest.approx(100 * mask.sum())


def test_areas_are_on_the_ground_not_in_mercator_metres() -> None:
    mercator = Grid(CRS.from_epsg(3857).to_wkt(), Affine(10, 0, 0, 0, -10, 8399738), 60, 60)
    mask = np.zeros(mercator.shape, dtype=np.bool_)
    mask[10:20, 10:20] = True
    ground = 10_000 * np.cos(np.radians(60)) ** 2
    assert len(polygons_above(mask, mercator, ground * 0.97)[0]) == 1
    assert len(polygons_above(mask, mercator, ground * 1.03)[0]) == 0


def test_tiles_cover_the_mask_exactly() -> None:
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), 150, 130)
    mask = np.random.default_rng(3).random(grid.shape) < 0.6
    tiles = tiles_of(mask, grid)
    assert np.array_equal(burn(list(tiles), [1] * len(tiles), grid, 0).astype(bool), mask)
    assert shapely.union_all(tiles).area == shapely.area(tiles).sum() == 100 * mask.sum()


def test_nothing_derived_is_an_empty_series(grid: Grid) -> None:
    polygons, pixels = polygons_above(np.zeros(grid.shape, dtype=np.bool_), grid, 100)
    assert len(polygons) == 0
    assert polygons.crs == grid.crs
    assert not pixels.any()
