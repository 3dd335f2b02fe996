"""Scale, offset and nodata of assets, by metadata, params and the darkest pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.geo.remote import RemoteInfo
from pipeline.params.acquire_remote import StacParams
from pipeline.sources.stac.fetch import CutOut
from pipeline.sources.stac.plan import Read
from pipeline.sources.stac.reflectance import Calibration, calibration, check_dark_pixels, dark_percentile
from pipeline.types import Window
from tests.unit.sources.stac.stac_server import grid

DARK = Calibration(0, 10000, 0, "")
READ = Read("one", "blue", "B02", "https://a/B02.tif", 1)
S2 = {"constellation": "sentinel-2"}
OLD, NEW = {**S2, "s2:processing_baseline": "03.01"}, {**S2, "s2:processing_baseline": "05.10"}
SHIFTED = {"raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]}
PLAIN = {"raster:bands": [{"scale": 0.0001, "offset": 0}]}


def known(properties: dict[str, Any], fields: dict[str, Any] | None = None, dtype: str = "uint16",
          nodata: float | None = None, index: int = 1, **params: Any) -> Calibration:
    item = pystac.Item.from_dict({
        "type": "Feature", "stac_version": "1.0.0", "id": "one", "geometry": None, "links": [],
        "properties": {"datetime": "2024-05-17T03:00:00Z", **properties},
        "assets": {"B02": {"href": READ.href, **(fields or {})}}})
    read = Read(READ.item, READ.name, READ.key, READ.href, index)
    return calibration(item, read, dtype, nodata, StacParams(**params))


@pytest.mark.parametrize(("properties", "fields", "offset", "flags"), [
    (OLD, {}, 0, "processing baseline 03.01"),
    (NEW, {}, -1000, "processing baseline 05.10"),
    ({**S2, "s2:processing_baseline": "04.00"}, {}, -1000, "processing baseline 04.00"),
    ({**S2, "processing:version": "05.09"}, SHIFTED, -1000, "processing baseline 05.09"),
    ({**NEW, "earthsearch:boa_offset_applied": True}, {}, 0, "boa_offset_applied true"),
    ({**NEW, "earthsearch:boa_offset_applied": True}, SHIFTED, 0, "boa_offset_applied true"),
    ({**NEW, "earthsearch:boa_offset_applied": False}, SHIFTED, -1000, "processing baseline 05.10"),
    (S2, SHIFTED, -1000, "the band's offset -1000"),
    (S2, {}, 0, "no offset declared"),
    ({}, SHIFTED, -1000, "the band's offset -1000"),
    ({}, {"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1}]}, -1000, "the band's offset -1000"),
    ({}, {"raster:scale": 0.0001, "raster:offset": -0.1}, -1000, "the band's offset -1000"),
    ({}, {"scale": 0.0001, "offset": -0.1}, -1000, "the band's offset -1000"),
    ({"processing:version": "05.09"}, PLAIN, 0, "no offset declared"),
])
def test_offsets_by_the_metadata(properties: dict[str, Any], fields: dict[str, Any], offset: float, flags: str) -> None:
    found = known(properties, fields)
    assert (found.offset, found.quantification, found.flags) == (offset, 10000, flags)


def test_landsat_scales_by_band() -> None:
    fields = {"raster:bands": [{}, {"scale": 2.75e-05, "offset": -0.2}]}
    found = known({"platform": "landsat-9"}, fields, index=2)
    assert (7273 + found.offset) / found.quantification == pytest.approx(7273 * 2.75e-05 - 0.2, abs=1e-9)


def test_params_override_each_of_both() -> None:
    assert known(NEW, SHIFTED, offset=0.0).offset == 0
    assert known(NEW, SHIFTED, offset=0.0).quantification == 10000
    found = known({}, offset=-7.0, quantification=255.0)
    assert (found.offset, found.quantification, found.flags) == (-7, 255, "acquire.stac.offset -7")


def test_metadata_that_do_not_do() -> None:
    with pytest.raises(SceneError, match=r"asset B02 of item one must have metadata that agree: its processing "
                                         r"baseline 05.10 means an offset of -1000, its band metadata say 0; set"):
        known(NEW, PLAIN)
    with pytest.raises(SceneError, match="neither a scale of its bands nor Sentinel-2's properties; set acquire"):
        known({"platform": "drone"})


def test_an_offset_without_a_scale_may_count_in_anything() -> None:
    lone = {"raster:bands": [{"offset": -0.1}]}
    with pytest.raises(SceneError, match=r"asset B02 of item one must declare a scale beside its offset -0.1 \(band "
                                         r"blue\), .*: got none; set acquire.stac.offset and acquire.stac.quantif"):
        known({}, lone, quantification=10000.0)
    for fields in (lone, {"offset": -0.1}, {"raster:offset": -0.1}, {"bands": [{"raster:offset": -0.1}]}):
        with pytest.raises(SceneError, match="must declare a scale beside its offset"):
            known(NEW, fields)
    assert known({}, lone, quantification=10000.0, offset=-1000.0).offset == -1000
    assert known({**NEW, "earthsearch:boa_offset_applied": True}, lone).offset == 0, "whatever it was"
    assert known(OLD, {"raster:bands": [{"offset": 0}]}).offset == 0


def test_zero_is_nodata_beside_what_is_declared() -> None:
    numbers = np.array([0, 1, 65535], np.uint16)
    for found in (known(NEW, nodata=65535), known(NEW, {"raster:bands": [{"nodata": 65535}]})):
        assert found.has_data(numbers).tolist() == [False, True, False]
    assert known(OLD, dtype="int16").has_data(numbers.astype(np.int16)).tolist() == [False, True, True]
    assert known(OLD, nodata=-9999).has_data(numbers).tolist() == [False, True, True], "-9999 never occurs"
    as_it_is = known({}, offset=0.0, quantification=1.0, dtype="float32")
    assert as_it_is.has_data(np.array([0, 0.3, np.nan], np.float32)).tolist() == [True, True, False]


def test_nodata_of_file_then_metadata_then_zero_of_unsigned_numbers() -> None:
    assert known(S2, SHIFTED, nodata=65535).nodata == 65535
    assert known(S2, {"raster:bands": [{"scale": 0.0001, "nodata": 7}]}).nodata == 7
    assert known(OLD).nodata == 0
    assert known(OLD, dtype="int16").nodata is None
    assert known(OLD, {"raster:bands": [{"scale": 0.0001, "nodata": "nan"}]}, dtype="float32").nodata is None


def band(folder: Path, name: str, dark_dn: int) -> CutOut:
    """100 x 100 pixels: 2 % of the dark number, the rest bright, a stripe of nodata."""
    values = np.full((100, 100), 5000, np.uint16)
    values[:2], values[50] = dark_dn, 0
    raster_io.write(folder / f"{name}.tif", values, grid(100), [name], 0)
    return CutOut(READ, folder / f"{name}.tif", "", RemoteInfo(grid(100), 1, "uint16", 0, 100))


def check(folder: Path, applied: float, *darkest: int, cloud: float = 5, **params: Any) -> None:
    bands = {f"b{i}": (band(folder, f"b{i}", dn), Calibration(applied, 10000, 0, "a flag"))
             for i, dn in enumerate(darkest)}
    check_dark_pixels("one", cloud, bands, StacParams(**params))


def test_the_dark_percentile_leaves_nodata_out(tmp_path: Path) -> None:
    assert dark_percentile(band(tmp_path, "b", 123), DARK) == 123
    empty = tmp_path / "empty.tif"
    raster_io.write(empty, np.zeros((9, 9), np.uint16), grid(9), ["b"], 0)
    assert dark_percentile(CutOut(READ, empty, "", RemoteInfo(grid(9), 1, "uint16", 0, 9)), DARK) is None


def test_the_dark_percentile_reads_as_many_rows_of_any_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    read = raster_io.WindowReader.read

    def count(self: raster_io.WindowReader, window: Window, bands: list[int]) -> np.ndarray:
        taken.append((window.row, window.height))
        return read(self, window, bands)

    monkeypatch.setattr(raster_io.WindowReader, "read", count)
    for rows in (100, 300, 1000):
        where = Grid(grid(9).crs_wkt, grid(9).transform, rows, 10)
        values = np.full((rows, 10), 5000, np.uint16)
        values[::10] = 40  # a tenth of the rows
        raster_io.write(tmp_path / "b.tif", values, where, ["b"], 0)
        taken.clear()
        found = dark_percentile(CutOut(READ, tmp_path / "b.tif", "", RemoteInfo(where, 1, "uint16", 0, 9)), DARK)
        assert found == 40
        assert len(taken) == min(rows, 128)
        assert {height for _, height in taken} == {1}
        assert taken[0][0] <= rows / 128
        assert taken[-1][0] >= rows - 1 - rows / 128, "from end to end"


@pytest.mark.parametrize(("offset", "darkest"), [
    (-1000, (1010, 1100, 950)),      # water at 0.001, 0.01 and, as atmospheric correction may give, -0.005
    (-1000, (510, 1100, 1200)),      # -0.049: over-corrected shadow
    (0, (50, 400, 1200)),            # one dark band is enough
    (0, (1000, 1000, 1000)),         # reflectance 0.1 in each: just as bright as is believed
    (-1000, (4000, 4000, 4000)),     # a bright scene tells nothing against an offset that was applied
])
def test_offsets_that_agree_with_dark_pixels(tmp_path: Path, offset: float, darkest: tuple[int, ...]) -> None:
    check(tmp_path, offset, *darkest)


def test_offsets_that_do_not(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"item one must have dark pixels near reflectance 0 after its offset, but "
                                         r"those of b1 are at -0.092 \(flags: a flag; offset -1000; 0.5 % percentile "
                                         r"of DN: b0 820, b1 80, b2 1900\).*set acquire.stac.offset to 0"):
        check(tmp_path, -1000, 820, 80, 1900)
    with pytest.raises(SceneError, match=r"somewhere, but the darkest, of b0, are at reflectance 0.102 \(flags: a "
                                         r"flag; offset 0; .*b0 1020, b1 1180\).*offset to it \(Sent.*: -1000\)"):
        check(tmp_path, 0, 1020, 1180)
    check(tmp_path, 0, 1020, 1180, offset=0.0)
    check(tmp_path, -1000, 820, 80, 1900, offset=-1000.0)


def test_clouds_hide_dark_pixels(tmp_path: Path) -> None:
    check(tmp_path, 0, 1020, 1180, cloud=80)
    for cloud in (50, float("inf")):
        with pytest.raises(SceneError, match="must have dark pixels somewhere"):
            check(tmp_path, 0, 1020, 1180, cloud=cloud)
