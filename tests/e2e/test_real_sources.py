"""Real scenes and labels of other people from acquire to spatial_split: three sensors, four ways to bring labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from pipeline.errors import SplitError
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from stages import acquire, rasterize, refine_labels, spatial_split

#: The blocks of these small scenes are shorter than the residuals' correlation range, and the split says so.
pytestmark = pytest.mark.filterwarnings("ignore:spatial_split.block_size_m:UserWarning")

S2_L1C = ["coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "cirrus",
          "swir1", "swir2"]
SLOVENIA = ["background", "artificial", "cultivated", "forest", "grassland", "shrubland"]


def _classes(names: list[str]) -> list[dict[str, str]]:
    return [{"name": name, "color": f"#{40 * i:02x}80{255 - 40 * i:02x}"} for i, name in enumerate(names)]


@pytest.fixture
def local(small_params: Callable[..., dict[str, Any]]) -> Callable[..., Params]:
    """Params of a local source; dotted keys in `changes` are set on top."""

    def build(inputs: Path, scenes: list[dict[str, Any]], labels: dict[str, Any], classes: list[str], background: str,
              **changes: Any) -> Params:
        task = {"task.classes": _classes(classes), "task.background": background,
                "acquire.source": "local", "acquire.inputs": str(inputs), "acquire.local.scenes": scenes,
                "acquire.local.labels": labels, "acquire.coverage": "exhaustive" if background else "sparse",
                "refine_labels": {"rules": []}, "train.monitor": "mcc", "evaluate.baselines.index_rules": [],
                "evaluate.object_classes": []}
        return Params(small_params(task | {key.replace("__", "."): value for key, value in changes.items()}))

    return build


def _to_rasterize(params: Params, paths: Paths) -> None:
    acquire.run(params, paths)
    refine_labels.run(params, paths)
    rasterize.run(params, paths)


@pytest.mark.parametrize("labels", ["polygons", "raster", "hand"])
def test_gewata_from_polygons_a_label_raster_and_hand_drawn_outlines(real_data, local, tmp_path, labels):
    folder = real_data / "gewata"
    names = ["cropland", "bamboo", "bare_soil", "coffee_plantation", "forest", "wetland"]
    given: dict[str, dict[str, Any]] = {
        "polygons": {"path": str(folder / "lulc_polygons.gpkg"), "class_column": "class",
                     "classes": {name.replace("_", " "): name for name in names}},
        "raster": {"path": str(folder / "lulc.tif"),
                   "classes": {"0": "ignore"} | {str(i): name for i, name in enumerate(names, 1)}},
        "hand": {"path": str(folder / "training_polygons.gpkg"), "class_column": "Class",
                 "classes": {name: name for name in ("cropland", "forest", "wetland")}}}
    if labels == "hand":
        names = ["cropland", "forest", "wetland"]
    params = local(folder, [{"id": "gewata", "path": str(folder / "image.tif")}], given[labels], names, "",
                   task__bands=["blue", "green", "red", "nir", "swir1", "swir2"], spatial_split__block_size_m=1920,
                   spatial_split__buffer_m=0, spatial_split__rare_classes="report_only", spatial_split__min_pixels=50)
    paths = Paths(tmp_path)
    _to_rasterize(params, paths)
    certificate = spatial_split.run(params, paths)
    counted = certificate["whole"]["labelled_by_class"]
    if labels == "hand":
        assert set(counted) == set(names)
        assert min(counted.values()) > 500
        return
    # What the data's own README counts in lulc.tif; a pixel of the scene may be nodata.
    expected = dict(zip(names, (396838, 17301, 943, 13645, 470859, 104616), strict=True))
    assert counted == pytest.approx(expected, rel=2e-3)
    assert certificate["held_out_pixels_with_train_label"] == 0


def test_kasumigaura_points_in_a_mercator_map_with_odd_nodata(real_data, local, tmp_path):
    folder = real_data / "kasumigaura"
    names = ["water", "dense_vegetation", "vegetation", "impervious"]
    labels = {"path": str(folder / "samples.shp"), "class_column": "labels", "radius_m": 15,
              "classes": {str(i): name for i, name in enumerate(names, 1)}}
    scene = {"id": "lake", "path": str(folder / "image.tif"), "bands": ["blue", "green", "red", "nir"]}
    params = local(folder, [scene], labels, names, "", task__reflectance_scale=1, spatial_split__block_size_m=400,
                   spatial_split__buffer_m=0, spatial_split__min_pixels=15)
    paths = Paths(tmp_path)
    _to_rasterize(params, paths)
    store = SceneStore.open(paths.scenes)
    assert np.sqrt(store.scenes[0].grid.pixel_area_m2) == pytest.approx(8.1, abs=0.05)
    refined = gpd.read_file(paths.labels / "labels.gpkg", layer="labels")
    ledger = pd.read_parquet(paths.labels / "ledger.parquet")
    circle = np.pi * 15**2
    whole = ledger.groupby("source_id")["area_before_m2"].first()
    assert len(whole) == 121
    assert whole.median() == pytest.approx(circle, rel=0.02)  # on the ground: the map itself would say 1.53 times that
    assert set(refined["class"]) == set(names)
    certificate = spatial_split.run(params, paths)
    assert certificate["whole"]["objects"]["impervious"] >= 20


def test_slovenia_five_dates_end_in_the_support_error_and_pass_merged(real_data, local, tmp_path):
    folder = real_data / "slovenia"
    scenes = [{"id": f"date{i}", "path": str(folder / f"scene{i}.tif"), "bands": S2_L1C, "level": "L1C"}
              for i in range(5)]
    labels = {"path": str(folder / "lulc.gpkg"), "class_column": "LULC_NAME",
              "classes": {"": "ignore", "artificial surface": "artificial", "cultivated land": "cultivated",
                          "forest": "forest", "grassland": "grassland", "schrubland": "shrubland"}}
    split = {"spatial_split__block_size_m": 100, "spatial_split__buffer_m": 10, "spatial_split__min_pixels": 30}
    common = (folder, scenes, labels, SLOVENIA, "background")
    paths = Paths(tmp_path)
    strict = local(*common, task__reflectance_scale=1, **split)
    _to_rasterize(strict, paths)
    with pytest.raises(SplitError, match=r"cultivated .*must have at least 30 labelled pixels"):
        spatial_split.run(strict, paths)
    assert not paths.splits.exists()
    merged = local(*common, task__reflectance_scale=1, spatial_split__rare_classes="merge",
                   spatial_split__merge_into={"cultivated": "grassland", "background": "grassland",
                                              "artificial": "grassland"}, **split)
    certificate = spatial_split.run(merged, paths)
    assert certificate["classes"] == ["forest", "grassland", "shrubland"]
    assert certificate["unsupported"] == []
    blocks = gpd.read_file(paths.splits / "blocks.gpkg")
    assert blocks.groupby("place")["part"].nunique().max() == 1  # five dates of one place are one place
    assert (blocks.groupby("place")["scene"].nunique() == 5).all()
