"""The whole way from an API on loopback to scenes: what is asked for, what is kept, what is recorded."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import box

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.params.acquire_remote import Retrying, StacParams
from pipeline.params.task import Task
from pipeline.sources.catalog import Asset, Entry
from pipeline.sources.downloads import kept_downloads
from pipeline.sources.stac.write import area_of, request_of, write_stac
from pipeline.types import Window
from tests.unit.sources.stac.stac_server import AREA_PX, StacServer, grid, lonlat

TASK = Task.model_validate({"bands": ["blue", "nir"], "classes": [{"name": n, "color": "#000000"} for n in "ab"]})


def acquire(params: StacParams, root: Path, mixed: bool = False) -> tuple[tuple[Entry, ...], tuple[Asset, ...]]:
    area = area_of(params, root)
    with kept_downloads(root / "downloads", request_of(params, area)) as folder:
        return write_stac(params, TASK, mixed, area, root / "out", folder)


def pixels(root: Path, name: str) -> np.ndarray:
    return raster_io.read(root / f"out/scenes/{name}.tif")


def kept(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "downloads").rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_scene_is_the_assets_own_pixels(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("cloudy", cloud=80)
    server.add_scene("S2A.clear", cloud=1)
    scenes, assets = acquire(server.params(), tmp_path)
    assert [s.id for s in scenes] == ["S2A_clear"]
    entry = scenes[0]
    assert (entry.bands, entry.time, entry.licence) == (("blue", "nir", "swir1"), "2024-05-17T03:00:00Z", "CC-BY-4.0")
    assert (entry.quantification, entry.offsets) == (10000, (0, 0, 0))
    assert entry.href == f"{server.url}/collections/s2/items/S2A.clear", "its token is not recorded"
    found, where = pixels(tmp_path, "S2A_clear"), raster_io.describe(tmp_path / "out/scenes/S2A_clear.tif").grid
    col, row = round((where.transform.c - 700000) / 10), round((9310000 - where.transform.f) / 10)
    assert abs(col - AREA_PX[0]) <= 1
    window = Window(row, col, where.height, where.width)
    for i, key in enumerate(("B02", "B08")):
        original = raster_io.read(server.folder / f"S2A.clear-{key}.tif", window)
        assert np.allclose(found[..., i], original, atol=1e-3)
    with raster_io.open_on_grid(server.folder / "S2A.clear-B11.tif", where, "bilinear", dtype="float32") as whole:
        direct = whole.read(Window(0, 0, where.height, where.width), [1])[..., 0]
    assert np.allclose(found[..., 2], direct, atol=1e-2), "cut out of its surroundings, resampling gives the same"
    assert next((a.id, a.role, a.note) for a in assets) == (
        "S2A.clear", "blue", "reflectance = (DN +0) / 10000: processing baseline 03.01")
    assert [a.href for a in assets] == [f"{server.url}/assets/S2A.clear-{k}.tif" for k in ("B02", "B08", "B11")]
    assert not any("cloudy" in path for path in server.asset_paths())
    assert kept(tmp_path) == [], "downloads are deleted after success"


def test_only_the_area_travels(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("large", size_px=2048)
    whole = sum((server.folder / f"large-{key}.tif").stat().st_size for key in ("B02", "B08"))
    acquire(server.params(bands={"blue": "B02", "nir": "B08"}), tmp_path)
    assert whole > 8_000_000
    assert server.sent_bytes < whole / 4


def test_equal_bytes_for_any_number_of_connections(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a", cloud=1)
    server.add_scene("b", cloud=2)
    results = []
    for connections in (1, 4):
        scenes, assets = acquire(server.params(scenes=2, connections=connections), tmp_path / str(connections))
        results.append((scenes, assets))
    assert results[0] == results[1], "entries hold the sha256 of scenes, assets that of cut-outs"
    assert [s.id for s in results[0][0]] == ["a", "b"]


def test_the_median_of_three(server: StacServer, tmp_path: Path) -> None:
    for id_, blue in (("a", 300), ("b", 900), ("c", 600)):
        server.add_scene(id_, {"B02": blue}, day=f"2024-05-0{ord(id_) - 96}")
    with pytest.warns(UserWarning, match="median blurs texture"):
        scenes, assets = acquire(server.params(choice="median", scenes=3), tmp_path)
    assert (scenes[0].id, scenes[0].href) == ("s2-median", f"median of 3 items of {server.url}")
    assert scenes[0].time == "2024-05-01T03:00:00Z/2024-05-03T03:00:00Z"
    assert (scenes[0].quantification, scenes[0].offsets) == (10000, (0, 0, 0)), "the same of all items"
    assert len(assets) == 9
    assert np.abs(pixels(tmp_path, "s2-median")[..., 0] - 600).max() <= 100, "c lies between a and b everywhere"


def test_a_median_of_several_formulas_says_so(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("old")
    server.add_scene("new", {"B02": 1300, "B08": 3500, "B11": 2500}, **{"s2:processing_baseline": "05.10"})
    with pytest.warns(UserWarning, match="median blurs texture"):
        scenes, assets = acquire(server.params(choice="median", scenes=2), tmp_path)
    assert (scenes[0].quantification, scenes[0].offsets) == (None, ()), "0 would say that none was applied"
    assert {a.note.partition(":")[0] for a in assets} == {"reflectance = (DN +0) / 10000",
                                                          "reflectance = (DN -1000) / 10000"}


def test_bands_of_several_scales_say_so(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a")
    server.items[0]["assets"]["B08"]["raster:bands"] = [{"scale": 0.0002}]
    scenes, _ = acquire(server.params(), tmp_path)
    assert scenes[0].quantification is None


def test_clouds_are_left_out(server: StacServer, tmp_path: Path) -> None:
    scl = np.full((32, 32), 4, np.uint8)
    scl[:20] = 9
    server.add_scene("a", scl=scl)
    _, assets = acquire(server.params(mask={"asset": "SCL", "values": [8, 9]}), tmp_path)
    gone = np.isnan(pixels(tmp_path, "a")[..., 0])
    assert gone[:9].all()
    assert not gone[12:].any(), "the cloud ends at row 40 of the tile, the area begins at 30"
    assert [a.role for a in assets] == ["blue", "nir", "swir1", "mask"]


def test_offsets_are_applied_and_checked(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a", {"B02": 1150, "B08": 3000, "B11": 2000}, **{"s2:processing_baseline": "05.10"})
    scenes, _assets = acquire(server.params(), tmp_path)
    assert scenes[0].offsets == (-1000, -1000, -1000)
    assert 50 <= np.nanmin(pixels(tmp_path, "a")) < np.nanmax(pixels(tmp_path, "a")[..., 0]) < 250
    server.items.clear()
    server.add_scene("wrong", {"B02": 110, "B08": 400, "B11": 300}, **{"s2:processing_baseline": "05.10"})
    with pytest.raises(SceneError, match=r"item wrong must have dark pixels near .* processing baseline 05.10; offset"):
        acquire(server.params(), tmp_path)
    asked = len(server.asset_paths())
    acquire(server.params(offset=0.0), tmp_path)
    assert len(server.asset_paths()) == asked, "the corrected run reads what the refused one had kept"


def test_busy_servers_are_asked_again(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a")
    server.failures["/assets/a-B08.tif"] = [503] * 4
    acquire(server.params(), tmp_path)
    assert server.failures["/assets/a-B08.tif"] == []


def test_a_broken_asset_is_named_in_one_line(server: StacServer, tmp_path: Path,
                                             caplog: pytest.LogCaptureFixture) -> None:
    server.add_scene("a")
    server.items[0]["assets"]["B08"]["href"] += "?sig=hidden"
    server.broken["/assets/a-B08.tif"] = 500
    with pytest.raises(SceneError) as caught:
        acquire(server.params(retry={"times": 1, "wait_s": 0}), tmp_path)
    message = str(caught.value)
    assert f"asset B08 of item a must be readable: {server.url}/assets/a-B08.tif gave 'HTTP response" in message
    assert "500" in message
    assert "\n" not in message
    assert "hidden" not in message
    del server.broken["/assets/a-B08.tif"]
    assert "sig=" not in caplog.text, "nor does GDAL's log, which goes to the terminal"
    server.requests.clear()
    acquire(server.params(), tmp_path)
    opened = server.asset_paths("HEAD")
    assert opened.count("a-B08.tif") == 2 * opened.count("a-B02.tif"), "the headers of the others were kept"


@pytest.mark.parametrize(("change", "message"), [
    ({"bands": {"blue": "B02", "nir": "B02#2"}}, "asset B02 of item a must have band 2, .* it has 1"),
    ({"bands": {"blue": "B02", "nir": "B99"}}, r"bands\[nir\] must name an asset of item a: got 'B99', it has \['B02'"),
])
def test_bands_that_are_not_there(server: StacServer, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    server.add_scene("a")
    with pytest.raises(SceneError, match=message):
        acquire(server.params(**change), tmp_path)


def test_a_missing_asset_is_not_asked_for_again(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a")
    (server.folder / "a-B08.tif").unlink()
    with pytest.raises(SceneError, match=r"a-B08.tif gave .HTTP response code: 404"):
        acquire(server.params(retry={"times": 9, "wait_s": 9}), tmp_path)


def test_servers_must_give_ranges(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a", size_px=512)
    served = server.answer
    server.answer = lambda request: served(replace(request, range=None))  # type: ignore[method-assign]
    with pytest.raises(SceneError, match=r"a-B02.tif gave .*Range downloading not supported by this server"):
        acquire(server.params(retry={"times": 0}, connections=1), tmp_path)


@pytest.mark.parametrize(("keep", "message"), [(40_000, "Read failed"), (0, "not recognized as being in a supported")])
def test_assets_that_are_no_rasters(server: StacServer, tmp_path: Path, keep: int, message: str) -> None:
    server.add_scene("a", size_px=512)
    file = server.folder / "a-B02.tif"
    file.write_bytes(file.read_bytes()[:keep] if keep else b"<html>sorry</html>" * 100)
    with pytest.raises(SceneError, match=f"asset B02 of item a must be readable: .*{message}") as caught:
        acquire(server.params(retry={"times": 0}, connections=1), tmp_path)
    assert len(str(caught.value)) < 500


def sign(href: str) -> str:
    """A signature that the server wants, as the loopback one below does."""
    return f"{href}?sig=secret"


def test_signed_hrefs_are_read_and_not_recorded(server: StacServer, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_scene("a")
    _, assets = acquire(server.params(sign="tests.unit.sources.stac.test_write:sign"), tmp_path)
    asked = [r for r in server.requests if r.path.startswith("/assets/")]
    assert asked
    assert all(r.query == {"sig": ["secret"]} for r in asked)
    assert not any("sig" in a.href for a in assets)


def test_tokens_in_the_url_are_neither_recorded_nor_told(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a")
    params = server.params(url=f"{server.url}/?token=hidden", choice="median", scenes=1)
    with pytest.warns(UserWarning, match="median blurs texture"):
        scenes, _ = acquire(params, tmp_path)
    assert scenes[0].href == f"median of 1 items of {server.url}/"
    server.has_search = False
    with pytest.raises(SceneError, match=f"acquire.stac.url {server.url}/ must be a STAC API") as caught:
        acquire(params, tmp_path)
    assert "hidden" not in str(caught.value)
    dead = params.model_copy(update={"url": "http://127.0.0.1:9/?token=hidden", "retry": Retrying(times=0)})
    with pytest.raises(SceneError, match=r"must answer as a STAC API: .*token=") as caught:
        acquire(dead, tmp_path)
    assert "hidden" not in str(caught.value)


def test_passwords_come_from_netrc(server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_scene("a")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login bob password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    acquire(server.params(), tmp_path)
    given = {(r.path.startswith("/assets/"), r.headers.get("Authorization", "")[:6]) for r in server.requests}
    assert given == {(False, "Basic "), (True, "Basic ")}, "of the API and of GDAL"


def test_what_is_asked_for_twice_is_read_once(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a")
    bands = {"blue": "B02", "again": "B02", "nir": "B08", "classes": "SCL"}
    _, assets = acquire(server.params(bands=bands, mask={"asset": "SCL", "values": [9]}, offset=0.0), tmp_path)
    assert [(a.role, a.href[-7:]) for a in assets] == [
        ("blue", "B02.tif"), ("again", "B02.tif"), ("nir", "B08.tif"), ("classes", "SCL.tif"), ("mask", "SCL.tif")]
    assert assets[0].sha256 == assets[1].sha256
    assert np.array_equal(pixels(tmp_path, "a")[..., 0], pixels(tmp_path, "a")[..., 1])
    opened = server.asset_paths("HEAD")
    assert opened.count("a-B02.tif") == opened.count("a-B08.tif") == opened.count("a-SCL.tif")


def test_areas_from_a_file(server: StacServer, tmp_path: Path) -> None:
    corners = grid(64).crop(Window(30, 20, 24, 24)).bounds
    gpd.GeoDataFrame(geometry=[box(*corners)], crs=32748).to_file(tmp_path / "area.gpkg")
    params = server.params(bbox=(), aoi="area.gpkg")
    assert area_of(params, tmp_path) == pytest.approx(lonlat(), abs=1e-4)
    gpd.GeoDataFrame(geometry=[], crs=32748).to_file(tmp_path / "empty.geojson")
    with pytest.raises(SceneError, match=r"acquire.stac.aoi empty.geojson must have a feature"):
        area_of(server.params(bbox=(), aoi="empty.geojson"), tmp_path)


def test_levels_mix_only_when_said(server: StacServer, tmp_path: Path) -> None:
    server.add_scene("a", **{"processing:level": "L1C"})
    server.add_scene("b", **{"processing:level": "L2A"})
    with pytest.raises(SceneError, match="got a L1C, b L2A"):
        acquire(server.params(scenes=2), tmp_path)
    scenes, _ = acquire(server.params(scenes=2), tmp_path, mixed=True)
    assert [s.level for s in scenes] == ["L1C", "L2A"]


CHILD = """
import sys
from pathlib import Path
from pipeline.params.acquire_remote import StacParams
from tests.unit.sources.stac.test_write import acquire
acquire(StacParams.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_and_run_again_it_asks_for_what_is_missing(server: StacServer, tmp_path: Path, project: Path) -> None:
    rng = np.random.default_rng(0)
    where = grid(1400)
    hrefs = {key: server.add_asset(f"{key}.tif", rng.integers(1, 500, (1400, 1400)).astype(np.uint16), where)
             for key in ("B02", "B08", "B11")}
    server.add_item("a", hrefs, footprint=where, **{"constellation": "sentinel-2", "s2:processing_baseline": "03.01"})
    params = server.params(bbox=lonlat((10, 10, 200, 1390)), connections=1)
    server.hang = "/assets/B08.tif"
    child = subprocess.Popen([sys.executable, "-c", CHILD, params.model_dump_json(), str(tmp_path)], cwd=project,
                             env={**os.environ, "PYTHONPATH": str(project)}, stderr=subprocess.DEVNULL)
    try:
        assert server.reached.wait(120)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    server.hang = ""
    server.released.set()
    left = [name for name in kept(tmp_path) if name.endswith(".tif")]
    assert len(left) == 1, "B02 is there, B08 was not finished"
    before = len(server.requests)
    scenes, _assets = acquire(params, tmp_path)
    asked = {r.path for r in server.requests[before:] if r.path.startswith("/assets/")}
    assert asked == {"/assets/B08.tif", "/assets/B11.tif"}
    assert kept(tmp_path) == []
    fresh, _ = acquire(params, tmp_path / "fresh")
    assert fresh == scenes, "the same bytes as without a kill"


def test_bands_of_rows_are_kept_one_by_one(server: StacServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    where = grid(1400)
    href = server.add_asset("B02.tif", rng.integers(1, 500, (1400, 1400)).astype(np.uint16), where)
    server.add_item("a", {"B02": href}, footprint=where, **{"constellation": "sentinel-2"})
    params = server.params(bbox=lonlat((10, 10, 200, 1390)), bands={"blue": "B02"}, connections=1,
                           retry={"times": 0, "timeout_s": 2})
    served = server.answer
    spans = []

    def cut_off(request: Any) -> Any:
        if request.range and request.range[0] > 0 and request.method == "GET":
            spans.append(request.range)
            if len(spans) == 2:
                server.broken["/assets/B02.tif"] = 404
        return served(request)

    server.answer = cut_off  # type: ignore[method-assign]
    with pytest.raises(SceneError, match=r"B02.tif gave"):
        acquire(params, tmp_path)
    parts = [name for name in kept(tmp_path) if name.endswith(".npy")]
    assert parts
    server.broken.clear()
    first = len(spans)
    acquire(params, tmp_path)
    assert not set(spans[first:]) & set(spans[:len(parts)]), "no range is asked for twice"


def test_one_process_at_a_time(server: StacServer, tmp_path: Path) -> None:
    params = server.params()
    with kept_downloads(tmp_path, request_of(params, lonlat())), \
            pytest.raises(SceneError, match="one process at a time may download request"), \
            kept_downloads(tmp_path, request_of(params, lonlat())):
        pass
