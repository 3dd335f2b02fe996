"""Real Sentinel-2 pixels of five dates, served on loopback as a provider of baseline 05.10 would."""

from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from tests.unit.sources.stac.stac_server import StacServer
from tests.unit.sources.stac.test_write import acquire

BANDS = {"blue": "all#2", "red": "all#4", "nir": "all#8", "swir1": "all#12"}


def serve(server: StacServer, folder: Path, added: int) -> tuple[list[np.ndarray], Grid]:
    """Each date's 13 bands as one asset of digital numbers; returns them with their grid."""
    numbers = []
    where = raster_io.describe(folder / "scene0.tif").grid
    for i, cloud in enumerate((90, 30, 1, 2, 3)):
        reflectance = raster_io.read(folder / f"scene{i}.tif")
        numbers.append(np.round(reflectance * 10000 + added).astype(np.uint16))
        href = server.add_asset(f"{i}.tif", numbers[-1], where)
        server.add_item(f"d{i}", {"all": href}, cloud, day=f"2024-05-1{i}", footprint=where,
                        **{"constellation": "sentinel-2", "s2:processing_baseline": "05.10"})
    return numbers, where


def area(where: Grid) -> tuple[float, ...]:
    """Degrees around the inner part of the grid, a tenth of a pixel within its edges."""
    left, bottom, right, top = where.bounds
    return tuple(Transformer.from_crs(where.crs, 4326, always_xy=True).transform_bounds(
        left + 200, bottom + 200, right - 200, top - 200))


def test_the_clearest_date_and_the_median(server: StacServer, tmp_path: Path, real_data: Path) -> None:
    numbers, where = serve(server, real_data / "slovenia", 1000)
    params = server.params(bbox=area(where), bands=BANDS)
    acquire(params, tmp_path)
    with pytest.warns(UserWarning, match="median blurs"):
        acquire(params.model_copy(update={"choice": "median", "scenes": 5}), tmp_path)
    columns = [1, 3, 7, 11]
    for name, expected in (("d2", numbers[2]), ("s2-median", np.median(np.stack(numbers), axis=0))):
        info = raster_io.describe(tmp_path / f"out/scenes/{name}.tif")
        col, row = (~where.transform) @ (info.grid.transform.c, info.grid.transform.f)
        assert (col, row) == (pytest.approx(round(col), abs=1e-6), pytest.approx(round(row), abs=1e-6))
        rows, cols = slice(round(row), round(row) + info.grid.height), slice(round(col), round(col) + info.grid.width)
        found = raster_io.read(tmp_path / f"out/scenes/{name}.tif")
        assert np.allclose(found, expected[rows, cols][..., columns] - 1000.0, atol=0.01)
        assert min(found.shape[:2]) > 50


def test_wrong_flags_show_in_the_darkest_pixels(server: StacServer, tmp_path: Path, real_data: Path) -> None:
    _, where = serve(server, real_data / "slovenia", 0)
    dark = {"red": "all#4", "nir": "all#8", "blue": "all#2", "swir1": "all#12"}
    with pytest.raises(SceneError, match=r"item d2 must have dark pixels near reflectance 0 .*offset -1000; 0.5 % "):
        acquire(server.params(bbox=area(where), bands=dark), tmp_path)
