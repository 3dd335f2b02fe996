"""Stage rasterize: equal bytes however it works, the last store kept on errors, and scenes of the real world."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.digests import folder_digests
from pipeline.errors import LabelError, SceneError
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from stages import acquire, rasterize, refine_labels

Make = Callable[[], Any]
GEWATA = ("cropland", "bamboo", "bare_soil", "coffee", "forest", "wetland")
SLOVENIA_BANDS = ["coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir2", "water_vapour",
                  "cirrus", "swir1", "swir2"]


def run_all(params: Params, root: Path) -> tuple[SceneStore, dict[str, Any]]:
    acquire.run(params, Paths(root))
    metrics = refine_labels.run(params, Paths(root))
    rasterize.run(params, Paths(root))
    return SceneStore.open(Paths(root).scenes), metrics


def test_a_store_from_local_files(local_project: Make) -> None:
    project = local_project()
    store, _ = run_all(project.params(bands=("nir", "red")), project.root)
    scene = store.scenes[0]
    assert (store.bands, store.classes) == (("nir", "red"), ("ground", "town", "water", "vegetation"))
    assert (scene.labels == 1).sum() == 64
    assert (scene.labels == 255).sum() == 576 - 128
    assert np.array_equal(scene.labels, scene.labels_raw)
    exhaustive, _ = run_all(project.params(coverage="exhaustive"), project.root)
    assert (exhaustive.scenes[0].labels == 0).sum() == 576 - 128


def test_equal_inputs_give_equal_bytes(local_project: Make) -> None:
    project = local_project()
    runs = []
    for _ in range(2):
        run_all(project.params(), project.root)
        runs.append({p.name: p.read_bytes() for p in project.paths.scenes.rglob("*") if p.is_file()})
    assert runs[0] == runs[1]


@pytest.mark.parametrize("way", ["processes", "cluster"])
def test_scenes_side_by_side_give_the_same_bytes(local_project: Make, way: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    project = local_project()
    for name in ("one", "two", "three"):
        project.write_scene(name=name)
    scenes = [{"id": name, "path": f"inputs/{name}.tif"} for name in ("one", "two", "three")]
    params, found = project.params(scenes=scenes, coverage="exhaustive"), []
    run_all(params, project.root)
    with ExitStack() as stack:
        for side_by_side in (False, True):
            if side_by_side and way == "processes":
                monkeypatch.setenv("KUMULUS_PROCESSES", "2")
            elif side_by_side:
                from distributed import LocalCluster

                cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1",
                                                           dashboard_address=":0"))
                monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
            rasterize.run(params, project.paths)
            found.append(folder_digests(project.paths.scenes))
    assert len(found[0]) == 3 * 5 + 1
    assert found[0] == found[1]


def test_a_scene_that_cannot_be_stored_ends_the_stage_and_leaves_the_last_store(
        local_project: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    project = local_project()
    project.write_scene(name="two")
    scenes = [{"id": name, "path": f"inputs/{name}.tif"} for name in ("scene", "two")]
    run_all(project.params(scenes=scenes), project.root)
    before = folder_digests(project.paths.scenes)
    file = project.paths.raw / "scenes/two.tif"
    file.write_bytes(file.read_bytes()[:-3000])
    monkeypatch.setenv("KUMULUS_PROCESSES", "2")
    with pytest.raises(SceneError, match=r"raster .*two.tif must have pixels GDAL can read"):
        rasterize.run(project.params(scenes=scenes), project.paths)
    assert folder_digests(project.paths.scenes) == before
    assert [p.name for p in (project.root / "data").iterdir() if p.name.startswith(".")] == []


def test_the_stages_in_order_only(local_project: Make) -> None:
    project = local_project()
    with pytest.raises(SceneError, match="run `dvc repro acquire`"):
        rasterize.run(project.params(), project.paths)
    with pytest.raises(SceneError, match="run `dvc repro acquire`"):
        refine_labels.run(project.params(), project.paths)


def params_of(folder: Path, bands: list[str], classes: tuple[str, ...], coverage: str, scenes: list[dict[str, Any]],
              labels: dict[str, Any], scale: float = 10000, **more: Any) -> Params:
    colors = [{"name": name, "color": f"#{i + 1:02x}8040"} for i, name in enumerate(classes)]
    local = {"scenes": [s | {"path": f"{folder}/{s['path']}"} for s in scenes],
             "labels": labels | {"path": f"{folder}/{labels['path']}"}}
    if reference := more.pop("reference", None):
        local["reference"] = reference | {"path": f"{folder}/{reference['path']}"}
    task = {"bands": bands, "classes": colors, "reflectance_scale": scale, "background": more.pop("background", "")}
    return Params({"seed": 1, "task": task,
                   "acquire": {"source": "local", "inputs": str(folder), "coverage": coverage, "local": local},
                   "refine_labels": more})


def test_gewata_with_every_polygon(real_data: Path, tmp_path: Path) -> None:
    columns = {"bare soil": "bare_soil", "coffee plantation": "coffee",
               **{n: n for n in ("cropland", "bamboo", "forest", "wetland")}}
    store, metrics = run_all(params_of(
        real_data / "gewata", ["blue", "green", "red", "nir", "swir1", "swir2"], GEWATA, "sparse",
        [{"id": "gewata", "path": "image.tif"}], {"path": "lulc_polygons.gpkg", "classes": columns}), tmp_path)
    scene = store.scenes[0]
    counts = np.bincount(scene.labels.ravel(), minlength=256)
    by_class = [396838, 17301, 943, 13645, 470859, 104616]
    assert counts[:6].tolist() == pytest.approx(by_class, rel=0.01)
    assert counts[255] == pytest.approx(1548 * 1177 - sum(by_class), rel=0.01)
    assert scene.image.dtype == np.int16
    assert metrics["actions"]["kept"] == 740


def test_gewata_with_hand_drawn_polygons_and_lulc_as_reference(real_data: Path, tmp_path: Path) -> None:
    crosswalk = {str(i): name for i, name in enumerate(GEWATA, 1)}
    rule = {"target": "forest", "index": "NDMI", "above": 0.35, "min_area_m2": 50000, "carve_from": ["cropland"],
            "add": False}
    labels = {"path": "training_polygons.gpkg", "class_column": "Class",
              "classes": {n: n for n in ("cropland", "forest", "wetland")}}

    def params(classes: dict[str, str]) -> Params:
        return params_of(real_data / "gewata", ["red", "nir", "swir1"], GEWATA, "sparse",
                         [{"id": "gewata", "path": "image.tif"}], labels,
                         reference={"path": "lulc.tif", "classes": classes}, rules=[rule])

    store, metrics = run_all(params(crosswalk), tmp_path)
    scene = store.scenes[0]
    assert set(np.unique(scene.labels)) <= {0, 4, 5, 255}
    assert scene.reference is not None
    assert (scene.reference == 255).mean() == pytest.approx(0.45, abs=0.02)
    assert metrics["truth"]["before"]["iou"]["forest"] == pytest.approx(0.887, abs=0.01), "11 % of it is bamboo"
    ledger = pd.read_parquet(Paths(tmp_path).labels / "ledger.parquet")
    assert ledger["source_id"].nunique() >= 16
    acquire.run(params({"0": "ignore", **crosswalk}), Paths(tmp_path))
    with pytest.raises(LabelError, match=r"lulc.tif: every value must be mapped .*'6' \(104616 times\) is not"):
        acquire.run(params({k: v for k, v in crosswalk.items() if k != "6"}), Paths(tmp_path))


def test_slovenia_with_bands_given_and_an_empty_class(real_data: Path, tmp_path: Path) -> None:
    names = {"schrubland": "shrubland", "grassland": "grassland", "artificial surface": "artificial",
             "forest": "forest", "cultivated land": "cultivated"}

    def params(classes: dict[str, str]) -> Params:
        return params_of(real_data / "slovenia", ["blue", "green", "red", "nir"], tuple(names.values()), "exhaustive",
                         [{"id": f"s{i}", "path": f"scene{i}.tif", "bands": SLOVENIA_BANDS} for i in (0, 3)],
                         {"path": "lulc.gpkg", "class_column": "LULC_NAME", "classes": classes}, scale=1,
                         background="grassland")

    with pytest.raises(LabelError, match=r"column 'LULC_NAME': every value .*'' \(4 times\) is not"):
        acquire.run(params(names), Paths(tmp_path))
    store, metrics = run_all(params({"": "ignore", **names}), tmp_path)
    for scene in store:
        assert scene.image.dtype == np.float32
        assert (scene.labels == 4).sum() == 11
        assert 0 < (scene.labels == 255).mean() < 0.2
    assert metrics["hectares"]["ignore"]["after"] > 0


def test_kasumigaura_points_are_refused_but_its_nodata_is_understood(real_data: Path, tmp_path: Path) -> None:
    def params(path: Path, labels: dict[str, Any], bands: list[str]) -> Params:
        return params_of(path, ["blue", "green", "red", "nir"], ("water", "land"), "sparse",
                         [{"id": "k", "path": "image.tif", "bands": bands}], labels, scale=1)

    points = {"path": "samples.shp", "class_column": "labels",
              "classes": {"1": "water", "2": "land", "3": "land", "4": "land"}}
    with pytest.raises(LabelError, match="must hold polygons, because a label covers ground: got 121 of type Point"):
        acquire.run(params(real_data / "kasumigaura", points, ["blue", "green", "red", "nir"]), Paths(tmp_path))
    import geopandas as gpd

    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs/image.tif").symlink_to(real_data / "kasumigaura/image.tif")
    frame = gpd.read_file(real_data / "kasumigaura/samples.shp")
    frame.set_geometry(frame.buffer(30)).to_file(tmp_path / "inputs/discs.gpkg")
    discs = {**points, "path": "discs.gpkg"}
    with pytest.raises(SceneError, match=r"'nir'\] missing among \['Band_1'"):
        acquire.run(params(tmp_path / "inputs", discs, []), Paths(tmp_path))
    store, _ = run_all(params(tmp_path / "inputs", discs, ["blue", "green", "red", "nir"]), tmp_path)
    scene = store.scenes[0]
    assert 0 < (scene.valid == 0).sum() < scene.valid.size / 2
    assert float(scene.image[scene.valid == 1].max()) < 2
