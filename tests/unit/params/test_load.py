"""params.yaml is read as YAML 1.2, validated whole, and answered in one sentence that names the key and the remedy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ParamsError
from pipeline.params.acquire import AcquireParams
from pipeline.params.base import Section
from pipeline.params.load import SECTIONS, Params, load, parse
from pipeline.params.train import TrainParams

Build = Callable[..., dict[str, Any]]


def test_projects_own_file_is_valid(project: Path) -> None:
    params = load(project / "params.yaml")
    assert set(params.dump()) == {"seed", *SECTIONS}


def test_numbers_are_those_dvc_sees() -> None:
    text = "seed: 1\ntask: {bands: [a], classes: [{name: x, color: '#000000'}, {name: y, color: '#ffffff'}]}\n" \
           "acquire: {coverage: sparse}\ntrain: {optimizer: {lr: 1e-3}}\n"
    assert parse(text).section(TrainParams).optimizer.lr == 0.001


def test_dump_fills_defaults_and_selects(small_params: Build) -> None:
    dumped = Params(small_params()).dump("seed", "rasterize")
    assert set(dumped) == {"seed", "rasterize"}
    assert dumped["rasterize"]["all_touched"] is False


def test_sections_are_found_by_class_and_frozen(small_params: Build) -> None:
    section = Params(small_params()).section(AcquireParams)
    assert section.synthetic.size_px == 256
    with pytest.raises(ValueError, match="frozen"):
        section.coverage = "sparse"  # type: ignore[misc]
    with pytest.raises(KeyError, match="Section"):
        Params(small_params()).section(Section)


def test_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml must exist in the working folder: not found; run in"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "message"), [
    ("a: [1", "must be YAML 1.2: while parsing"),
    ("- 1", "must hold sections: got list"),
    ("", "must hold sections: got NoneType"),
])
def test_text_that_is_no_params_file(text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parse(text)


TWO = [{"name": "x", "color": "#000000"}, {"name": "y", "color": "#ffffff"}]
SCENE = {"id": "s", "path": "inputs/s.tif"}

#: One broken value each, and words of the answer.
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"seed": -1}, r"seed must be a whole number from 0 to 4294967295: got -1"),
    ({"seed": True}, "seed must be a whole number"),
    ({"trian": {}}, r"params.yaml: trian is not a known key; did you mean 'train'\?"),
    ({"zzz": 1}, "zzz is not a known key; known here: acquire"),
    ({"train.optimizer.learning_rate": 1}, "train.optimizer.learning_rate is not a known key; known here: clip_norm"),
    ({"train.epoch": 3}, r"train.epoch is not a known key; did you mean 'epochs'\?"),
    ({"refine_labels.rules": [{"target": "water", "index": "NDWI", "abov": 1}]}, r"did you mean 'above'\?"),
    ({"train.epochs": 0}, "train.epochs: .*greater than or equal to 1: got 0"),
    ({"train.epochs": "many"}, "train.epochs: .*valid integer.*got 'many'"),
    ({"train.optimizer.lr": float("nan")}, "train.optimizer.lr: .*finite"),
    ({"task.kind": "detection"}, "task.kind: .*'segmentation'.*got 'detection'"),
    ({"task.classes": [*TWO, TWO[0]]}, r"class names must differ: \['x'\] occur twice; rename one"),
    ({"task.bands": ["red", "red"]}, r"band names must differ: \['red'\]"),
    ({"task.background": "sea"}, "background must be one of the classes .*: got 'sea'"),
    ({"task.classes": [{"name": "x", "color": "red"}, TWO[1]]}, "task.classes.0.color: .*pattern.*got 'red'"),
    ({"acquire.inputs": "."}, r"acquire.inputs must not hold the project itself.*got '\.'"),
    ({"acquire.inputs": "../.."}, "acquire.inputs must not hold the project itself"),
    ({"acquire.inputs": ""}, "acquire.inputs: .*at least 1 character"),
    ({"acquire.source": "local"}, "acquire.local.scenes must name at least one scene"),
    ({"acquire.source": "local", "acquire.local": {"scenes": [SCENE]}}, "labels.path must name the label file"),
    ({"acquire.source": "local", "acquire.local": {"scenes": [SCENE, SCENE], "labels": {"path": "inputs/l.gpkg"}}},
     r"must have different ids: got \['s', 's'\]"),
    ({"acquire.source": "local", "acquire.local": {"scenes": [SCENE], "labels": {"path": "elsewhere/l.gpkg"}}},
     "must lie in acquire.inputs.*'elsewhere/l.gpkg' is not in 'inputs'; move it"),
    ({"acquire.source": "local", "acquire.local": {"scenes": [SCENE], "labels": {"path": "inputs/../elsewhere.gpkg"}}},
     "must lie in acquire.inputs.*'inputs/../elsewhere.gpkg' is not in 'inputs'"),
    ({"acquire.local": {"labels": {"classes": {"W": "sea"}}}}, r"local.labels.classes\['W'\] must name a class"),
    ({"refine_labels.rules": [{"target": "sea", "index": "NDWI", "above": 0}]}, r"rules\[0\].target must name a class"),
    ({"refine_labels.rules": [{"target": "water", "index": "NDWI", "above": 0, "becomes": "sea"}]}, "becomes must"),
    ({"refine_labels.rules": [{"target": "water", "index": "NDWI", "above": 0, "carve_from": ["sea"]}]},
     "carve_from must name"),
    ({"refine_labels.rules": [{"target": "water", "index": "NDWI", "above": 0}] * 2}, "must each have their own"),
    ({"rasterize.background_weight": 0}, "background_weight must be above 0, .* still be drawn .*: got 0; .* sparse"),
    ({"rasterize.background_weight": -0.5}, "background_weight must be above 0"),
    ({"spatial_split.val_fold": 3}, "val_fold must be below spatial_split.folds=3: got 3"),
    ({"spatial_split.rare_classes": "merge"}, "merge_into must say where rare classes go"),
    ({"spatial_split.merge_into": {"sea": "water"}}, "merge_into must name a class"),
    ({"spatial_split.merge_into": {"water": "vegetation", "vegetation": "background"}}, "must be a class that stays"),
    ({"train.batch_size": 3, "train.accumulation": 2}, "batch_size must be a multiple of accumulation x devices = 2"),
    ({"train.patches.per_epoch": 6}, "per_epoch must be a multiple of batch_size=4: got 6"),
    ({"train.folds": 2}, "train.folds must be 1 or spatial_split.folds=3: got 2"),
    ({"train.accelerator": "cpu", "train.precision": "16-mixed"},
     "precision must be bf16-mixed or .*: cpu: got 16-mixed"),
    ({"train.network.decoder_attention": "scse"}, "decoder_channels must be 16 or more with decoder_attention scse"),
    ({"train.schedule.warmup_epochs": 4}, "warmup_epochs must not exceed epochs=3, or the rate never arrives: got 4"),
    ({"task.classes": [{"name": "ignore", "color": "#000000"}, TWO[1]]}, "must not be 'ignore'"),
    ({"spatial_split.merge_into": dict.fromkeys(("background", "informal_settlement", "vegetation"), "water")},
     "must leave at least two classes"),
    ({"export.class_shares": {"water": {"mni": 0.1}}}, "class_shares.water.mni is not a known key; did you mean .min."),
    ({"train.network.decoder_channels": [8]}, "decoder_channels must have encoder_depth=3 entries"),
    ({"train.loss.weights": {"cross_entropy": 0, "dice": 0}}, "must have one term above 0"),
    ({"train.monitor": "iou:sea"}, "train.monitor must name a class"),
    ({"train.monitor": "f1"}, "train.monitor: .*pattern"),
    ({"evaluate.tiles": {"size_px": 64, "overlap_px": 40}}, "overlap_px must be at most half of size_px=64: got 40"),
    ({"evaluate.baselines.focal_px": [4]}, r"focal_px must be odd and at least 3: got \[4\]"),
    ({"evaluate.baselines.index_rules": [{"target": "sea", "index": "NDWI", "above": 0}]}, r"rules\[0\].target must"),
    ({"evaluate.object_classes": ["sea"]}, "evaluate.object_classes must name a class"),
    ({"task.background": "", "acquire.coverage": "sparse"},
     "task.background must name the class of pixels no index rule claims"),
    ({"export.class_shares": {"sea": {"min": 0}}}, "export.class_shares must name a class"),
    ({"export.class_shares": {"water": {"min": 0.5, "max": 0.1}}}, "min must not exceed max: got 0.5 > 0.1"),
]


@pytest.mark.parametrize(("changes", "message"), BROKEN, ids=[", ".join(c) for c, _ in BROKEN])
def test_every_rule_has_an_answer(small_params: Build, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        Params(small_params(changes))
    assert "\n" not in str(caught.value)


LABELS = {"path": "inputs/l.gpkg", "classes": {"W": "water"}}


@pytest.mark.parametrize("source", [
    {}, {"acquire.source": "local", "acquire.local": {"scenes": [SCENE], "labels": LABELS}},
], ids=["synthetic", "local"])
def test_exhaustive_labels_need_a_background(small_params: Build, source: dict[str, Any]) -> None:
    changes = {**source, "task.background": "", "evaluate.baselines.index_rules": []}
    with pytest.raises(ParamsError, match=r"task\.background must name a class where acquire\.coverage is exhaustive"):
        Params(small_params(changes))
    assert Params(small_params({**changes, "acquire.coverage": "sparse"})).seed == 42


def test_inputs_beside_the_project(small_params: Build) -> None:
    scene, labels = {"id": "s", "path": "../data/s.tif"}, {"path": "../data/l.gpkg"}
    changes = {"acquire.source": "local", "acquire.inputs": "../data",
               "acquire.local": {"scenes": [scene], "labels": labels}}
    assert Params(small_params(changes)).seed == 42
