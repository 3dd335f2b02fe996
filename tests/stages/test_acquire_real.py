"""Acquire on scenes and labels that nobody here made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import LabelError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.vector_io import burn, geodesic_area_m2, read_vectors
from pipeline.params.load import Params
from pipeline.paths import Paths
from stages import acquire

BANDS = ["blue", "green", "red", "nir"]
SLOVENIA = ["coastal", *BANDS[:3], "rededge1", "rededge2", "rededge3", "nir", "nir2", "water_vapour", "cirrus", "swir1",
            "swir2"]
GEWATA = ("cropland", "bamboo", "bare_soil", "coffee", "forest", "wetland")


def params(folder: Path, classes: tuple[str, ...], scenes: list[dict[str, Any]], labels: dict[str, Any],
           coverage: str = "sparse") -> Params:
    colors = [{"name": name, "color": f"#{i + 1:02x}8040"} for i, name in enumerate(classes)]
    local = {"scenes": [s | {"path": f"{folder}/{s['path']}"} for s in scenes],
             "labels": labels | {"path": f"{folder}/{labels['path']}"}}
    return Params({"seed": 1, "task": {"bands": BANDS, "classes": colors, "reflectance_scale": 1,
                                       "background": classes[0] if coverage == "exhaustive" else ""},
                   "acquire": {"source": "local", "inputs": str(folder), "coverage": coverage, "local": local}})


def test_kasumigaura_points_become_circles_on_the_ground(real_data: Path, tmp_path: Path) -> None:
    classes = ("water", "dense_vegetation", "vegetation", "impervious")
    values = {str(i + 1): name for i, name in enumerate(classes)}
    points = {"path": "samples.shp", "class_column": "labels", "classes": values}

    def run(bands: list[str], **labels: Any) -> None:
        scene = {"id": "lake", "path": "image.tif", "bands": bands}
        acquire.run(params(real_data / "kasumigaura", classes, [scene], points | labels), Paths(tmp_path))

    with pytest.raises(SceneError, match=r"\['blue', 'green', 'red', 'nir'\] missing among \['Band_1', 'Band_2'"):
        run([], radius_m=15)
    with pytest.raises(LabelError, match=r"got 121 of type Point; draw polygons, or set acquire.local.labels.radius_m"):
        run(BANDS)
    assert not Paths(tmp_path).raw.exists()
    run(BANDS, radius_m=15)
    frame = read_vectors(Paths(tmp_path).raw / "labels.gpkg", "labels")
    assert frame["class"].value_counts().to_dict() == dict(zip(classes, (25, 28, 23, 45), strict=True))
    assert geodesic_area_m2(frame.geometry) == pytest.approx(np.pi * 15**2, rel=2e-3)
    assert frame.area.mean() == pytest.approx(1.53 * np.pi * 15**2, rel=0.01), "as World Mercator draws them"
    pixels = raster_io.read(Paths(tmp_path).raw / "scenes/lake.tif")
    assert np.isnan(pixels).any(axis=-1).sum() == 4458
    assert np.nanmax(pixels) < 2


def test_slovenia_five_dates_without_names(real_data: Path, tmp_path: Path) -> None:
    names = {"schrubland": "shrubland", "grassland": "grassland", "artificial surface": "artificial",
             "forest": "forest", "cultivated land": "cultivated"}

    def run(bands: list[str], classes: dict[str, str]) -> Any:
        scenes = [{"id": f"s{i}", "path": f"scene{i}.tif", "bands": bands, "level": "L1C"} for i in range(5)]
        labels = {"path": "lulc.gpkg", "class_column": "LULC_NAME", "classes": classes}
        return acquire.run(params(real_data / "slovenia", tuple(names.values()), scenes, labels, "exhaustive"),
                           Paths(tmp_path))

    with pytest.raises(SceneError, match="must have named bands: 13 of 13 have no description; list all 13 names"):
        run([], {"": "ignore", **names})
    with pytest.raises(LabelError, match=r"column 'LULC_NAME': every value .*'' \(4 times\) is not"):
        run(SLOVENIA, names)
    catalog = run(SLOVENIA, {"": "ignore", **names})
    assert [(s.id, s.level, len(s.bands)) for s in catalog.scenes] == [(f"s{i}", "L1C", 13) for i in range(5)]
    assert catalog.labels.count == 88


def test_gewata_labels_as_a_raster_are_its_polygons(real_data: Path, tmp_path: Path) -> None:
    labels = {"path": "lulc.tif", "classes": {str(i + 1): c for i, c in enumerate(GEWATA)}}
    catalog = acquire.run(params(real_data / "gewata", GEWATA, [{"id": "g", "path": "image.tif"}], labels),
                          Paths(tmp_path))
    assert catalog.labels.count == 740, "as many as in lulc_polygons.gpkg"
    frame = read_vectors(Paths(tmp_path).raw / "labels.gpkg", "labels")
    lulc = raster_io.read(real_data / "gewata/lulc.tif")
    grid = raster_io.describe(real_data / "gewata/lulc.tif").grid
    burnt = burn(list(frame.geometry), [GEWATA.index(name) for name in frame["class"]], grid, 255)
    assert np.array_equal(burnt, np.where(lulc == 0, 255, lulc - 1))
    theirs = read_vectors(real_data / "gewata/lulc_polygons.gpkg")
    assert frame.area.sum() == pytest.approx(theirs.area.sum(), rel=1e-9)
