"""Stage refine_labels: outlines carved by the image, what lies beside them, and the gain against a truth."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ParamsError, SceneError
from pipeline.geo import raster_io
from pipeline.geo.vector_io import geodesic_area_m2, read_vectors
from pipeline.params.load import Params
from pipeline.paths import Paths
from stages import acquire, refine_labels

Make = Callable[[], Any]
TREES = {"target": "vegetation", "index": "NDVI", "above": 0.5, "min_area_m2": 500, "carve_from": ["town"]}


def with_trees(project: Any) -> None:
    """Trees in rows 6 to 13, columns 4 to 13: 8 x 6 of their pixels lie in the town of columns 2 to 9."""
    image = np.full((24, 24, 4), 1000, dtype=np.uint16)
    image[6:14, 4:14, 3] = 5000
    project.write_scene(image)


def test_outlines_are_carved_and_the_unrefined_lie_beside(local_project: Make) -> None:
    project = local_project()
    with_trees(project)
    params = project.params(rules=[TREES])
    acquire.run(params, project.paths)
    metrics = refine_labels.run(params, project.paths)
    file = project.paths.labels / "labels.gpkg"
    refined, unrefined = read_vectors(file, "labels"), read_vectors(file, "unrefined")
    pixels = (refined.area / 100).groupby(refined["class"]).sum().round(2).to_dict()
    assert pixels == pytest.approx({"town": 64 - 24, "ignore": 24, "water": 64, "vegetation": 80 - 24 - 8}, rel=1e-3)
    assert refined.crs.to_epsg() == 32748
    assert unrefined["class"].tolist() == ["town", "water"]
    ledger = pd.read_parquet(project.paths.labels / "ledger.parquet")
    change = (ledger["area_after_m2"] - ledger["area_before_m2"]).sum()
    before, after = geodesic_area_m2(unrefined.geometry).sum(), geodesic_area_m2(refined.geometry).sum()
    assert before + change == pytest.approx(after, abs=1e-3)
    told = json.loads((project.paths.labels / "thresholds.json").read_text())
    assert [(t["scene"], t["index"], t["threshold"]) for t in told] == [("scene", "NDVI", 0.5)]
    assert told[0]["area_m2"] == pytest.approx(80 * 100, rel=1e-3)
    assert metrics["actions"] == {"added": 2, "carved": 1, "kept": 1}
    assert metrics["hectares"]["town"]["after"] == pytest.approx(0.4, rel=1e-2)
    assert "truth" not in metrics
    report = project.paths.report("refine_labels")
    assert json.loads((report / "metrics.json").read_text()) == metrics
    assert (report / "outlines_scene.png").stat().st_size > 1000


def test_equal_inputs_give_equal_bytes(local_project: Make) -> None:
    project = local_project()
    with_trees(project)
    params = project.params(rules=[TREES])
    acquire.run(params, project.paths)
    runs = []
    for _ in range(2):
        refine_labels.run(params, project.paths)
        folders = (project.paths.labels, project.paths.report("refine_labels"))
        runs.append({p.name: p.read_bytes() for folder in folders for p in folder.iterdir()})
    assert runs[0] == runs[1]


def test_iou_before_and_after_against_a_truth(local_project: Make) -> None:
    project = local_project()
    with_trees(project)
    truth = np.zeros((24, 24), dtype=np.uint8)
    truth[2:10, 2:10], truth[2:10, 12:20] = 1, 2
    truth[6:14, 4:14] = 3
    grid = raster_io.describe(project.root / "inputs/scene.tif").grid
    raster_io.write(project.root / "inputs/truth.tif", truth, grid, ["class"])
    classes = {"0": "ground", "1": "town", "2": "water", "3": "vegetation"}
    params = project.params(rules=[{**TREES, "becomes": "vegetation", "carve_from": ["town", "water"]}],
                            coverage="exhaustive", reference={"path": "inputs/truth.tif", "classes": classes})
    acquire.run(params, project.paths)
    scores = refine_labels.run(params, project.paths)["truth"]
    assert scores["before"]["iou"]["town"] == pytest.approx(40 / 64, abs=1e-6)
    assert scores["before"]["iou"]["vegetation"] == 0
    assert scores["after"]["iou"] == {"ground": 1, "town": 1, "water": 1, "vegetation": 1}
    assert scores["after"]["pixels"] == 576


@pytest.mark.parametrize(("rule", "error", "message"), [
    ({**TREES, "index": "NDVY"}, ParamsError, "got 'NDVY'; did you mean"),
    ({**TREES, "index": "NBR"}, SceneError, "swir2"),
    ({"target": "vegetation", "index": "NDVI", "method": "otsu", "bounds": [0.8, 0.9]}, SceneError,
     r"rules\[0\].bounds \[0.8, 0.9\]: scene scene gives"),
])
def test_rules_that_are_refused(local_project: Make, rule: dict[str, Any], error: type[Exception],
                                message: str) -> None:
    project = local_project()
    params = project.params(rules=[rule])
    acquire.run(params, project.paths)
    with pytest.raises(error, match=message):
        refine_labels.run(params, project.paths)
    assert not project.paths.labels.exists()


def test_refinement_raises_label_iou_on_the_embedded_scene(tmp_path: Any,
                                                           small_params: Callable[..., dict[str, Any]]) -> None:
    params, paths = Params(small_params({"acquire.synthetic.size_px": 512})), Paths(tmp_path)
    acquire.run(params, paths)
    scores = refine_labels.run(params, paths)["truth"]
    for name in ("informal_settlement", "water", "vegetation", "background"):
        assert scores["after"]["iou"][name] > scores["before"]["iou"][name]
    assert scores["after"]["iou"]["water"] > 0.8
    assert scores["after"]["iou"]["vegetation"] > 0.8
