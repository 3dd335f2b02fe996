"""Acquire: scenes, masks and extra rasters that cannot be used answer with one clear line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from pipeline.errors import ParamsError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from tests.stages.scene_files import COARSE, FINE, WKT, run, write_folder, write_mask

Make = Callable[[], Any]
FAR = Grid(WKT, Affine(20, 0, 750000, 0, -20, 9310000), 12, 12)
ROTATED = Grid(WKT, Affine(20, 1, 700000, 1, -20, 9310000), 12, 12)


@pytest.mark.parametrize(("files", "scene", "message"), [
    ([("B02.tif", FINE), ("B11.tif", COARSE)], {},
     r"must say which band's grid it takes .*: blue in pixels of 10 from \(.*\); swir1 in pixels of 20 from"),
    ([("B02.tif", FINE), ("B11.tif", FAR)], {"grid": "blue"}, "must have bands of one place: swir1 with bounds"),
    ([("B02.tif", FINE), ("B11.tif", ROTATED)], {"grid": "blue"}, "that of swir1 is rotated, geotransform"),
    ([("B02.tif", FINE), ("B11.tif", Grid(CRS.from_epsg(32749).to_wkt(), FINE.transform, 24, 24))], {"grid": "blue"},
     "must have its bands in one CRS: swir1 EPSG:32749, but the grid is EPSG:32748; reproject"),
    ([("B02.tif", FINE), ("B11.tif", FINE)], {"grid": "nir"}, r"one of its bands \['blue', 'swir1'\]: got 'nir'"),
    ([("B02.tif", FINE)], {}, r"\['swir1'\] missing among \['blue'\]"),
    ([("B02.tif", FINE)], {"bands": ["blue", "swir1"]}, r"bands it is asked for: \['swir1'\] missing among"),
    ([("B02_10m.tif", FINE), ("B02_20m.tif", COARSE)], {},
     r"\['blue'\] occur twice; they come from \['B02_10m.tif', 'B02_20m.tif'\]; choose with files"),
    ([("SCL.tif", FINE)], {}, "must hold single-band rasters"),
    ([("B02.tif", FINE)], {"files": {"blue": "B02.tif", "swir1": "none.tif"}}, "none.tif must be a file GDAL can open"),
    ([("B02.tif", Grid("", FINE.transform, 24, 24))], {"files": {"blue": "B02.tif"}}, "B02.tif must have a CRS"),
    ([("B02.tif", FINE)], {"path": "inputs/scene.tif", "files": {"blue": "B02.tif"}}, "must be a folder where files"),
])
def test_folders_that_are_refused(local_project: Make, files: list[tuple[str, Grid]], scene: dict[str, Any],
                                  message: str) -> None:
    project = local_project()
    write_folder(project, *((name, 500, grid) for name, grid in files))
    with pytest.raises(SceneError, match=message) as caught:
        run(project, **scene)
    assert "\n" not in str(caught.value)
    assert not project.paths.raw.exists()


def test_a_file_of_several_bands_in_a_folder(local_project: Make) -> None:
    project = local_project()
    raster_io.write(project.root / "inputs/bands/all.tif", np.ones((24, 24, 2), np.uint16), FINE, ["a", "b"])
    with pytest.raises(SceneError, match=r"must have one band a file: all.tif has 2; name a raster of several bands"):
        run(project)


@pytest.mark.parametrize(("grid", "bands", "message"), [
    (FAR, 1, "mask inputs/clouds.tif of scene scene must cover the scene: it is EPSG:32748 with bounds"),
    (Grid(WKT, COARSE.transform, 6, 12), 1, "must cover the scene"), (None, 1, "must have a CRS"),
    (COARSE, 2, "must have one band of class values: got 2")])
def test_masks_that_are_refused(local_project: Make, grid: Grid | None, bands: int, message: str) -> None:
    project = local_project()
    write_mask(project, grid, bands)
    with pytest.raises(SceneError, match=message):
        run(project, ("blue",), path="inputs/scene.tif", mask={"path": "inputs/clouds.tif", "values": [9]})
    with pytest.raises(SceneError, match="must have a scene classification for its mask"):
        run(project, ("blue",), path="inputs/scene.tif", mask={"values": [9]})


@pytest.mark.parametrize(("grid", "name", "bands", "message"), [
    (FAR, "dem", 1, r"extra dem \(inputs/dem.tif\) of scene scene must overlap the scene"),
    (FINE, "blue", 1, "must have a name of its own"), (FINE, "dem", 2, "must have one band: got 2"),
    (Grid("", FINE.transform, 24, 24), "dem", 1, "must have a CRS")])
def test_extras_that_are_refused(local_project: Make, grid: Grid, name: str, bands: int, message: str) -> None:
    project = local_project()
    raster_io.write(project.root / "inputs/dem.tif", np.ones((*grid.shape, bands), np.int16), grid, ["z"] * bands)
    with pytest.raises(SceneError, match=message):
        run(project, ("blue",), path="inputs/scene.tif", extra={name: "inputs/dem.tif"})


@pytest.mark.parametrize(("crs", "corner", "message"), [
    ("EPSG:32748", (106.8, -6.2), r"metres, as EPSG:32748 says: its bounds \(106.8, .* look like degrees; correct"),
    ("EPSG:4326", (700000, 9310000), "degrees, as EPSG:4326 says: its bounds .* look like metres")])
def test_degrees_and_metres_are_told_apart(local_project: Make, crs: str, corner: tuple[float, float],
                                           message: str) -> None:
    project = local_project()
    size = 0.0001 if corner[0] < 360 else 10
    grid = Grid(CRS(crs).to_wkt(), Affine(size, 0, corner[0], 0, -size, corner[1]), 24, 24)
    project.write_scene(grid=grid)
    with pytest.raises(SceneError, match=message):
        run(project, ("blue",), path="inputs/scene.tif")


def test_a_torn_file(local_project: Make) -> None:
    project = local_project()
    file = project.root / "inputs/scene.tif"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(SceneError, match=r"must have pixels GDAL can read: .*damaged or incomplete"):
        run(project, ("blue",), path="inputs/scene.tif")
    file.write_bytes(b"no raster")
    with pytest.raises(SceneError, match="must be a file GDAL can open"):
        run(project, ("blue",), path="inputs/scene.tif")


def test_a_grid_without_effect_warns(local_project: Make) -> None:
    with pytest.warns(UserWarning, match="grid of scene scene .* has no effect"):
        run(local_project(), ("blue",), path="inputs/scene.tif", grid="blue")


@pytest.mark.parametrize(("scene", "message"), [
    ({"offset": -1000}, "must have a quantification where it has an offset: got offset -1000"),
    ({"files": {"blue": "../B02.tif"}}, "must name files inside its folder"),
    ({"files": {"blue": "a.tif"}, "bands": ["blue"]}, "must name its bands once"),
    ({"bands": ["blue", "blue"]}, r"\['blue'\] occur twice"),
    ({"mask": {"path": "inputs/m.tif"}}, "must name the values that are left out"),
    ({"mask": {"path": "elsewhere/m.tif", "values": [1]}}, "must lie in acquire.inputs"),
    ({"extra": {"dem": "elsewhere/dem.tif"}}, "must lie in acquire.inputs"),
    ({"level": "L3"}, "level"),
])
def test_params_that_are_refused(local_project: Make, scene: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        local_project().params(scene=scene)
