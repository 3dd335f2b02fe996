"""The grid of a scene to be composed, and the windows of the assets that it takes."""

import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo.grid import Grid
from pipeline.geo.remote import RemoteInfo
from pipeline.params.acquire_remote import StacGrid
from pipeline.sources.stac.plan import halo, padded, reads_of, source_window, target_grid
from pipeline.sources.stac.search import search
from pipeline.types import Window
from tests.unit.sources.stac.stac_server import AREA_PX, LEFT, TOP, StacServer, grid, lonlat


def info(where: Grid) -> RemoteInfo:
    return RemoteInfo(where, 1, "uint16", 0.0, 512)


TEN, TWENTY = info(grid(64)), info(grid(32, 20))


def test_the_grid_is_that_of_the_finest_band_cut_to_the_area() -> None:
    found = target_grid({"swir1": TWENTY, "blue": TEN}, StacGrid(), lonlat())
    left, _top, right, bottom = AREA_PX
    assert (found.transform.a, found.transform.e) == (10, -10)
    assert abs(found.transform.c - (LEFT + 10 * left)) <= 10, "the lon/lat box is a little larger than the window"
    assert (found.transform.c - LEFT) % 10 == 0
    assert (found.transform.f - TOP) % 10 == 0
    assert found.bounds[0] <= LEFT + 10 * left + 4
    assert found.bounds[2] >= LEFT + 10 * right - 4
    assert found.bounds[1] <= TOP - 10 * bottom + 4
    assert found.shape[0] in range(24, 27)


def test_another_resolution_lies_on_its_multiples() -> None:
    found = target_grid({"blue": TEN}, StacGrid(resolution_m=30), lonlat())
    assert found.pixel_size == (30, 30)
    assert found.transform.c % 30 == found.transform.f % 30 == 0


def test_another_crs_needs_metres_and_a_resolution() -> None:
    found = target_grid({"blue": TEN}, StacGrid(crs="EPSG:32648", resolution_m=10), lonlat())
    assert found.crs_name == "EPSG:32648"
    for params, message in ((StacGrid(crs="EPSG:4326", resolution_m=10), "that counts in metres"),
                            (StacGrid(crs="EPSG:2263", resolution_m=10), "that counts in metres"),
                            (StacGrid(crs="EPSG:32649"), "resolution_m must be set where crs differs")):
        with pytest.raises(SceneError, match=message):
            target_grid({"blue": TEN}, params, lonlat())
    degrees = Grid(CRS.from_epsg(4326).to_wkt(), Affine(0.001, 0, 106, 0, -0.001, -6), 900, 900)
    assert target_grid({"blue": info(degrees)}, StacGrid(), lonlat()).pixel_size == (0.001, 0.001), "its own, kept"


def test_rotated_assets_and_assets_without_crs_are_refused() -> None:
    turned = Grid(TEN.grid.crs_wkt, TEN.grid.transform @ Affine.rotation(10), 64, 64)
    with pytest.raises(SceneError, match="north-up grids"):
        target_grid({"blue": info(turned)}, StacGrid(), lonlat())
    nowhere = Grid("", TEN.grid.transform, 64, 64)
    with pytest.raises(SceneError, match="must have a CRS"):
        target_grid({"blue": info(nowhere)}, StacGrid(), lonlat())
    with pytest.raises(SceneError, match="blue must have a CRS"):
        source_window(info(nowhere), grid(64), "blue")


def test_source_windows_have_a_margin_and_stay_inside() -> None:
    target = TEN.grid.crop(Window(30, 20, 24, 24))
    assert source_window(TEN, target, "x") == Window(26, 16, 32, 32)
    assert source_window(TWENTY, target, "x") == Window(11, 6, 20, 20)
    assert source_window(TEN, TEN.grid, "x") == Window(0, 0, 64, 64)
    coarse = Grid(TEN.grid.crs_wkt, Affine(40, 0, LEFT + 200, 0, -40, TOP - 200), 6, 6)
    assert source_window(TEN, coarse, "x") == Window(10, 10, 44, 44), "four pixels of 10 m make one: 2 * 4 + 2 around"
    with pytest.raises(SceneError, match=r"x must overlap the area, as its item's footprint does"):
        source_window(TEN, grid(64, left=LEFT + 10_000), "x")


def test_a_halo_is_metres_on_the_ground() -> None:
    assert halo(grid(64), 0) == (0, 0)
    assert halo(grid(64), 95) == (10, 10)
    assert padded(grid(64), (2, 3)).shape == (68, 70)
    assert padded(grid(64), (2, 3)).bounds == (LEFT - 30, TOP - 660, LEFT + 670, TOP + 20)


def test_assets_by_key_and_band_number(server: StacServer) -> None:
    server.add_item("one", {"image": "../image.tif", "scl": "https://far/scl.tif"})
    params = server.params(bands={"blue": "image#3"}, mask={"asset": "scl", "values": [3]})
    item = search(params, lonlat()).items[0]
    blue, mask = reads_of(item, params)
    assert (blue.key, blue.index, blue.href) == ("image", 3, f"{server.url}/collections/s2/image.tif")
    assert (mask.name, mask.href) == ("(mask)", "https://far/scl.tif")
    for bands, message in (({"blue": "B02"}, r"bands\[blue\] must name an asset of item one: got 'B02', it has \['im"),
                           ({"blue": "image#0"}, "key#number with the number of a band from 1: got 'image#0'")):
        with pytest.raises(SceneError, match=message):
            reads_of(item, server.params(bands=bands))
