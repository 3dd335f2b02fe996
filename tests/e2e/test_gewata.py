"""Real input end to end: Landsat over Gewata, sparse land-cover polygons, a short training above majority and rules."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.types import SilentLog
from stages import acquire, evaluate, export, rasterize, refine_labels, spatial_split, train

#: The correlation range that is measured there is about 2000 m; where it is above 1920 m, the split says so.
pytestmark = pytest.mark.filterwarnings("ignore:spatial_split.block_size_m=1920 is shorter:UserWarning")

STAGES = (acquire, refine_labels, rasterize, spatial_split, train, evaluate, export)

SHORT = {
    # Sparse labels have no background; here it only names what the index rules fall to.
    "task.background": "cropland",
    "train.network": {"encoder": "mobilenet_v2", "encoder_depth": 4, "decoder_channels": [64, 32, 24, 16]},
    "train.patches": {"size_px": 64, "per_epoch": 128},
    "train.optimizer.lr": 2e-3,
    "train.batch_size": 16,
    "train.epochs": 10,
    "evaluate.baselines.index_rules": [{"target": "forest", "index": "NDVI", "above": 0.6}],
    "evaluate.baselines.boosting_focal": False,
    "evaluate.baselines.boosting_pixels": 20000,
    "evaluate.bootstrap": {"resamples": 300},
}


@pytest.fixture(scope="module")
def finished(real_data: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The landcover recipe on gewata, every stage run once."""
    root = tmp_path_factory.mktemp("gewata")
    (root / "inputs").mkdir()
    shutil.copyfile(real_data / "gewata/image.tif", root / "inputs/scene.tif")
    shutil.copyfile(real_data / "gewata/lulc_polygons.gpkg", root / "inputs/labels.gpkg")
    recipe = YAML(typ="safe", pure=True).load((project / "recipes/landcover.yaml").read_text(encoding="utf-8"))
    raw = {"seed": 42, **recipe}
    for key, value in SHORT.items():
        node: dict[str, Any] = raw
        *parents, last = key.split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    paths = Paths(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in STAGES:
            run: Callable[..., Any] = stage.run
            run(Params(raw), paths, SilentLog())
    return paths


def test_the_network_is_above_majority_and_rules(finished: Paths) -> None:
    truths = json.loads((finished.report("evaluate") / "metrics.json").read_text(encoding="utf-8"))["truths"]
    network, rules, majority = (truths["refined"][name] for name in ("network", "index_rules", "majority"))
    assert network["macro_iou"]["value"] > max(rules["macro_iou"]["value"], majority["macro_iou"]["value"])
    assert network["difference_to_index_rules"]["mcc"]["low"] > 0
    assert network["difference_to_majority"]["accuracy"]["low"] > 0


def test_unmapped_ground_is_never_scored(finished: Paths) -> None:
    truths = json.loads((finished.report("evaluate") / "metrics.json").read_text(encoding="utf-8"))["truths"]
    certificate = json.loads((finished.splits / "certificate.json").read_text(encoding="utf-8"))
    assert truths["refined"]["pixels"] == certificate["parts"]["val"]["labelled"]
    assert certificate["parts"]["val"]["labelled"] < 0.8 * certificate["parts"]["val"]["pixels"]


def test_the_export_names_its_raw_files(finished: Paths) -> None:
    statement = json.loads((finished.export / "provenance.json").read_text(encoding="utf-8"))
    assert "inputs/scene.tif" in json.dumps(statement["data"])
    assert (finished.export / "maps/scene_class.tif").exists()
