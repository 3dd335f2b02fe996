"""Acquire: what scenes of the user's can be made of, and what they leave unsaid."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.sources.catalog import Catalog
from stages import acquire
from tests.stages.scene_files import COARSE, FINE, WKT, run, write_folder, write_mask
from tests.unit.sources.local.small_safe import write_safe

Make = Callable[[], Any]


def test_a_folder_of_bands_comes_to_the_named_grid(local_project: Make) -> None:
    project = local_project()
    write_folder(project, ("B02.tif", 500, FINE), ("T48MXU_20220101T030000_B11_20m.tif", 900, COARSE),
                 ("SCL.tif", 4, COARSE), ("slope.tif", 7, FINE))
    catalog, pixels = run(project, grid="blue")
    assert catalog.scenes[0].bands == ("blue", "swir1", "slope"), "Sentinel-2 names by number, others by stem, no SCL"
    assert (pixels.shape, pixels.dtype) == ((24, 24, 3), np.uint16)
    assert (pixels == [500, 900, 7]).all()
    _, pixels = run(project, grid="swir1", bands=["swir1", "blue"])
    assert (pixels.shape, pixels[0, 0].tolist()) == ((12, 12, 2), [900, 500])


def test_files_can_be_named(local_project: Make) -> None:
    project = local_project()
    write_folder(project, ("one.tif", 500, FINE), ("two.tif", 900, FINE), ("B02.tif", 1, COARSE))
    _, pixels = run(project, files={"swir1": "one.tif", "blue": "two.tif"})
    assert pixels[0, 0].tolist() == [500, 900]


def test_bands_of_different_types_become_float(local_project: Make) -> None:
    project = local_project()
    write_folder(project, ("B02.tif", 0, FINE))
    write_folder(project, ("B11.tif", 900, FINE), dtype=np.float32, nodata=None)
    with pytest.raises(SceneError, match="all 576 are nodata"):
        run(project)
    pixels = np.full(FINE.shape, 300, np.uint16)
    pixels[0, 0] = 0
    raster_io.write(project.root / "inputs/bands/B02.tif", pixels, FINE, [""], 0)
    _, copied = run(project)
    assert copied.dtype == np.float32
    assert np.isnan(copied[0, 0, 0])
    assert copied[1, 1].tolist() == [300, 900]


def test_a_vrt_whose_bands_differ_in_type(local_project: Make) -> None:
    project = local_project()
    write_folder(project, ("a.tif", 300, FINE))
    write_folder(project, ("b.tif", 0.5, FINE), dtype=np.float32, nodata=None)
    source = ("<VRTRasterBand dataType='{}' band='{}'>{}<SimpleSource><SourceFilename relativeToVRT='1'>{}"
              "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>")
    (project.root / "inputs/bands/all.vrt").write_text(
        "<VRTDataset rasterXSize='24' rasterYSize='24'><SRS>EPSG:32748</SRS><GeoTransform>700000,10,0,9310000,0,-10"
        "</GeoTransform>" + source.format("UInt16", 1, "<NoDataValue>0</NoDataValue>", "a.tif")
        + source.format("Float32", 2, "", "b.tif") + "</VRTDataset>")
    catalog, pixels = run(project, path="inputs/bands/all.vrt", bands=["blue", "swir1"])
    assert catalog.scenes[0].bands == ("blue", "swir1")
    assert pixels[3, 3].tolist() == [300, 0.5]


def test_extra_rasters_lie_on_the_scenes_grid(local_project: Make) -> None:
    project = local_project()
    wide = Grid(WKT, Affine(20, 0, 699960, 0, -20, 9310040), 16, 16)
    heights = np.tile(100 + np.arange(16) * 4, (16, 1)).astype(np.int16)
    raster_io.write(project.root / "inputs/dem.tif", heights, wide, ["z"], -32768)
    catalog, pixels = run(project, ("blue", "dem"), path="inputs/scene.tif", extra={"dem": "inputs/dem.tif"})
    assert catalog.scenes[0].bands == ("blue", "green", "red", "nir", "dem")
    assert pixels.dtype == np.float32
    assert pixels[5, :4, 4].tolist() == [107, 109, 111, 113], "2 units a 10 m pixel, not rounded to the DEM's type"
    _, pixels = run(project, ("blue", "dem"), path="inputs/scene.tif", extra={"dem": "inputs/dem.tif"}, offset=-100,
                    quantification=5000)
    assert pixels[5, :4, 4].tolist() == [107, 109, 111, 113], "heights are no digital numbers"
    blue = raster_io.read(project.root / "inputs/scene.tif")[5, 0, 0]
    assert pixels[5, 0, 0] == (float(blue) - 100) * 2


def test_an_extra_of_the_same_type_and_grid_leaves_pixels_as_they_are(local_project: Make) -> None:
    project = local_project()
    raster_io.write(project.root / "inputs/slope.tif", np.full((24, 24), 3, np.uint16), FINE, ["s"], 0)
    _, pixels = run(project, ("blue", "slope"), path="inputs/scene.tif", extra={"slope": "inputs/slope.tif"})
    assert pixels.dtype == np.uint16
    assert (pixels[..., 4] == 3).all()
    assert np.array_equal(pixels[..., :4], raster_io.read(project.root / "inputs/scene.tif"))


def test_digital_numbers_become_reflectance(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, np.uint16)
    image[0, 0], image[0, 1, 2] = 0, 0
    image[0, 2] = 1500
    project.write_scene(image, nodata=None)
    catalog, pixels = run(project, ("blue",), path="inputs/scene.tif", offset=-1000, quantification=10000, level="L2A")
    entry = catalog.scenes[0]
    assert (entry.level, entry.quantification, entry.offsets) == ("L2A", 10000, (-1000,) * 4)
    assert Catalog.open(project.paths.catalog) == catalog
    assert np.isnan(pixels[0, 0]).all()
    assert pixels[0, 1].tolist()[:2] == [-500, -500]
    assert np.isnan(pixels[0, 1, 2]), "0 is nodata in its own band"
    assert pixels[0, 2].tolist() == [500] * 4


@pytest.mark.parametrize("scene", [{"quantification": 10000}, {"zeros": "nodata"}])
def test_undeclared_zeros_never_mix_with_their_neighbours(local_project: Make, scene: dict[str, Any]) -> None:
    project = local_project()
    pixels = np.full((12, 12), 900, np.uint16)
    pixels[4, 4] = 0
    raster_io.write(project.root / "inputs/bands/B11.tif", pixels, COARSE, [""])
    write_folder(project, ("B02.tif", 500, FINE), nodata=None)
    _, copied = run(project, grid="blue", **scene)
    missing = (copied[..., 1] == 0) | np.isnan(copied[..., 1])
    assert np.argwhere(missing).tolist() == [[8, 8], [8, 9], [9, 8], [9, 9]]
    assert (copied[~missing, 1] == 900).all()
    assert (copied[..., 0] == 500).all()


def test_without_a_quantification_pixels_stay(local_project: Make) -> None:
    project = local_project()
    catalog, _ = run(project, ("blue",), path="inputs/scene.tif")
    assert (catalog.scenes[0].level, catalog.scenes[0].quantification, catalog.scenes[0].offsets) == ("", 0, ())


@pytest.mark.parametrize(("zeros", "nodata", "missing"), [("nodata", None, 36), ("data", None, 0), ("refuse", 0, 37)])
def test_undeclared_zeros_need_a_word(local_project: Make, zeros: str, nodata: float | None, missing: int) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, np.uint16)
    image[:6, :6] = 0
    image[20, 20, 0] = 0
    project.write_scene(image, nodata=None)
    with pytest.raises(SceneError, match=r"must say what its zeros mean, .*: 36 of 576 pixels \(6.2 %\) are 0 in every "
                                         r"band and reach its edge; set zeros of this scene"):
        run(project, ("blue",), path="inputs/scene.tif")
    assert not project.paths.raw.exists()
    run(project, ("blue",), path="inputs/scene.tif", zeros=zeros, **({} if nodata is None else {"nodata": nodata}))
    info = raster_io.describe(project.paths.raw / "scenes/scene.tif")
    pixels = raster_io.read(project.paths.raw / "scenes/scene.tif")
    assert (0 if info.nodata is None else (pixels == info.nodata).any(axis=-1).sum()) == missing
    if zeros == "nodata":
        assert info.nodata == 65535, "0 itself occurs as data in one band"


def test_a_few_undeclared_zeros_are_data(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, np.uint16)
    image[0, :5], image[10:16, 10:16] = 0, 0
    project.write_scene(image, nodata=None)
    _, pixels = run(project, ("blue",), path="inputs/scene.tif")
    assert np.array_equal(pixels, image), "five pixels at the edge, and a lake that does not reach it"


def test_zeros_that_a_mask_leaves_out_ask_nothing(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 500, np.uint16)
    image[:6] = 0
    project.write_scene(image, nodata=None)
    mask = np.full((24, 24), 255, np.uint8)
    mask[:6] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(project.root / "inputs/scene.tif", "r+") as dataset:
        dataset.write_mask(mask)
    _, pixels = run(project, ("blue",), path="inputs/scene.tif")
    assert np.array_equal(pixels, image)
    assert raster_io.describe(project.paths.raw / "scenes/scene.tif").nodata == 0


def test_nodata_given_by_params(local_project: Make) -> None:
    project = local_project()
    image = np.full((24, 24, 4), 0.25, np.float32)
    image[0] = -1
    project.write_scene(image, nodata=None)
    _, pixels = run(project, ("blue",), path="inputs/scene.tif", nodata=-1)
    assert np.isnan(pixels[0]).all()
    assert (pixels[1:] == 0.25).all()


def test_a_mask_file_is_dilated_on_the_ground(local_project: Make) -> None:
    project = local_project()
    write_mask(project)
    for dilate_m, count in ((0, 4), (25, 32)):
        mask = {"path": "inputs/clouds.tif", "values": [8, 9], "dilate_m": dilate_m}
        _, pixels = run(project, ("blue",), path="inputs/scene.tif", mask=mask)
        assert (pixels == 0).all(axis=-1).sum() == count
        assert (pixels[8:10, 8:10] == 0).all()


def test_dilation_reaches_across_row_bands(local_project: Make) -> None:
    project = local_project()
    grid = Grid(WKT, FINE.transform, 300, 24)
    project.write_scene(np.full((300, 24, 4), 500, np.uint16), grid=grid)
    values = np.zeros(grid.shape, np.uint8)
    values[[255, 256], [3, 20]] = 1
    raster_io.write(project.root / "inputs/clouds.tif", values, grid, ["c"])
    mask = {"path": "inputs/clouds.tif", "values": [1], "dilate_m": 20.5}
    _, pixels = run(project, ("blue",), path="inputs/scene.tif", mask=mask)
    missing = pixels[..., 0] == 0
    assert missing.sum() == 26, "a disc of 13 pixels each"
    assert np.flatnonzero(missing[:, 3]).tolist() == [253, 254, 255, 256, 257]
    assert np.flatnonzero(missing[:, 20]).tolist() == [254, 255, 256, 257, 258]


def test_scenes_of_several_crs_and_dates(local_project: Make) -> None:
    project = local_project()
    other = Grid(CRS.from_epsg(32749).to_wkt(), Affine(10, 0, 36500, 0, -10, 9308500), 24, 24)
    project.write_scene(grid=other, name="east")
    scenes = [{"id": "west", "path": "inputs/scene.tif", "time": "2020-01-01"},
              {"id": "late", "path": "inputs/scene.tif", "time": "2021-01-01"},
              {"id": "east", "path": "inputs/east.tif"}]
    with pytest.warns(UserWarning, match="scene east meets none"):
        catalog = acquire.run(project.params(scenes=scenes), project.paths)
    assert [(s.id, s.time) for s in catalog.scenes] == [("west", "2020-01-01"), ("late", "2021-01-01"), ("east", "")]
    names = [raster_io.describe(project.paths.raw / s.file).grid.crs_name for s in catalog.scenes]
    assert names == ["EPSG:32748", "EPSG:32748", "EPSG:32749"]


def test_processing_levels_never_mix_unsaid(local_project: Make) -> None:
    project = local_project()
    write_safe(project.root / "inputs/S.SAFE")
    safe = {"id": "safe", "path": "inputs/S.SAFE", "bands": ["blue", "green", "red", "nir"]}

    def params(level: str, mixed: bool = False) -> Any:
        made = project.params(scenes=[{"id": "file", "path": "inputs/scene.tif", "level": level}, safe]).raw
        made["acquire"]["mixed_levels"] = mixed
        return type(project.params())(made)

    for level, said in (("L1C", "file is L1C, safe is L2A"), ("", "file is of no declared level, safe is L2A")):
        with pytest.raises(SceneError, match=f"scenes must be of one processing level.*: {said}; .*mixed_levels"):
            acquire.run(params(level), project.paths)
    with pytest.warns(UserWarning, match="scene safe meets none"):
        acquire.run(params("L1C", mixed=True), project.paths)
    with pytest.warns(UserWarning, match="scene safe meets none"):
        assert [s.level for s in acquire.run(params("L2A"), project.paths).scenes] == ["L2A", "L2A"]


def test_equal_folders_give_equal_bytes(local_project: Make) -> None:
    project = local_project()
    write_folder(project, ("B02.tif", 500, FINE), ("B11.tif", 900, COARSE))
    digests = [run(project, grid="blue")[0].scenes[0].sha256 for _ in range(2)]
    assert digests[0] == digests[1]


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.params.load import parse
from pipeline.paths import Paths
from pipeline.sources.local import write
from stages import acquire
inner = write.copy_scene
def killed(*given):
    inner(*given)
    os.kill(os.getpid(), signal.SIGKILL)
write.copy_scene = killed
acquire.run(parse(Path("params.yaml").read_text()), Paths())
"""


def test_a_killed_acquire_leaves_no_half_output(local_project: Make, project: Path) -> None:
    mine = local_project()
    (mine.root / "params.yaml").write_text(json.dumps(mine.params().raw))
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=mine.root, check=False, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(project)})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not mine.paths.raw.exists()
    acquire.run(mine.params(), mine.paths)
    assert sorted(p.name for p in mine.paths.raw.parent.iterdir()) == ["raw"], "what the kill left is gone too"


def test_memory_maps_are_not_needed(local_project: Make) -> None:
    """A scene in tiles of another size than the row bands comes out as it went in."""
    mine = local_project()
    image = np.random.default_rng(3).integers(1, 900, (4, 600, 40)).astype(np.uint16)
    with rasterio.open(mine.root / "inputs/scene.tif", "w", driver="GTiff", height=600, width=40, count=4,
                       dtype="uint16", crs="EPSG:32748", transform=FINE.transform, tiled=True, blockxsize=16,
                       blockysize=48) as dataset:
        dataset.write(image)
        dataset.descriptions = ("blue", "green", "red", "nir")
    _, pixels = run(mine, ("blue",), path="inputs/scene.tif")
    assert np.array_equal(np.moveaxis(pixels, -1, 0), image)
