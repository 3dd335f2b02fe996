"""A plan holds whole configurations, checked before anything runs, and keys that change with all that matters."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.experiments.declaration import Ablation, read
from pipeline.experiments.plan import Plan, make_plan
from pipeline.params.recipes import overlay


def planned(root: Path, changes: dict[str, dict[str, Any]], **more: Any) -> Plan:
    return make_plan(Ablation(name="t", changes=changes, **more), root / "params.yaml")


def test_variants_have_whole_configurations_and_words_for_dvc(root: Path) -> None:
    plan = planned(root, {"focal": {"train.loss": {"weights": {"focal": 0.5}}, "train.epochs": 2}}, seeds=(1, 2),
                   folds=3, common={"train.epochs": 1})
    baseline, focal = plan.variants
    assert [v.name for v in plan.variants] == ["baseline", "focal"]
    assert baseline.overrides == ("++train.epochs=1", "++train.seeds=[1,2]", "++train.folds=3")
    assert focal.overrides == ("++train.epochs=2", "++train.seeds=[1,2]", "++train.folds=3",
                               "++train.loss.weights.focal=0.5")
    loss = focal.dump["train"]["loss"]["weights"]
    assert (loss["focal"], loss["dice"], loss["cross_entropy"]) == (0.5, 0.5, 1.0)  # a section's other keys stay
    assert baseline.dump["train"]["seeds"] == [1, 2]
    assert plan.experiment(focal) == f"t-focal-{focal.key[:8]}"


def test_seeds_and_folds_are_those_of_params_unless_given(root: Path) -> None:
    assert planned(root, {"a": {"seed": 1}}).variants[0].overrides == ()


def test_keys_follow_what_results_follow_from(root: Path) -> None:
    def keys() -> list[str]:
        return [v.key for v in planned(root, {"a": {"train.epochs": 2}}).variants]

    first = keys()
    assert len(set(first)) == 2
    assert keys() == first
    for name in ("code.py", "requirements.lock", "inputs/scene"):
        text = (root / name).read_text(encoding="utf-8")
        (root / name).write_text(text + "x", encoding="utf-8")
        assert not set(keys()) & set(first), name
        (root / name).write_text(text, encoding="utf-8")
    (root / "other").mkdir()
    (root / "other/scene").write_text("x", encoding="utf-8")
    moved = planned(root, {"a": {"acquire.inputs": "other"}}).variants[1].key
    (root / "other/scene").write_text("y", encoding="utf-8")
    assert planned(root, {"a": {"acquire.inputs": "other"}}).variants[1].key != moved
    yaml = YAML()
    params = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    params["export"]["registered_name"] = "other"
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    assert keys() == first  # no stage up to evaluate reads it


@pytest.mark.parametrize(("changes", "message"), [
    ({"train.optimizer.lrr": 1}, r"variant a \(train.optimizer.lrr: 1\): train.optimizer.lrr is not a known key; did "
                                 "you mean 'lr'"),
    ({"trian.epochs": 1}, "trian is not a known key; did you mean 'train'"),
    ({"train.epochs": "many"}, "train.epochs: Input should be a valid integer"),
    ({"train.epochs.best": 1}, "train.epochs is 3, which has no keys"),
    ({"task.classes.0.name": "x"}, "task.classes is .*, which has no keys; set it as a whole"),
    ({"train.monitor": "iou:forest"}, "train.monitor must name a class"),
    ({"export.registered_name": "x"}, "a must differ from baseline in what the stages up to evaluate read"),
    ({"train.epochs": 3}, "a must differ from baseline"),
])
def test_impossible_changes_are_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        planned(root, {"a": changes})


def test_two_equal_variants_are_refused(root: Path) -> None:
    with pytest.raises(ParamsError, match="b must differ from a "):
        planned(root, {"a": {"train.epochs": 2}, "b": {"train.epochs": 2}})


def test_folds_are_one_or_the_splits(root: Path) -> None:
    with pytest.raises(ParamsError, match=r"train.folds must be 1 or spatial_split.folds=3: got 2"):
        planned(root, {"a": {"train.epochs": 2}}, folds=2)


@pytest.mark.parametrize(("metric", "message"), [
    ("iou.forest", "metric iou.forest must name a class of task.classes .* got 'forest'"),
    ("objects.water.f1", "needs water in evaluate.object_classes"),
])
def test_metrics_name_what_there_is(root: Path, metric: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        planned(root, {"a": {"train.epochs": 2}}, metrics=(metric,))


def test_settings_without_effect_are_told_by_variant(root: Path) -> None:
    plan = planned(root, {"a": {"train.loss.label_smoothing": 0.1, "train.loss.weights.cross_entropy": 0}})
    assert plan.variants[0].warnings == ()
    assert any("label_smoothing has no effect" in text for text in plan.variants[1].warnings)


@pytest.mark.parametrize("name", ["settlement", "glacier"])
def test_the_projects_ablations_fit_their_recipes(root: Path, project: Path, name: str) -> None:
    default, recipe = ((project / f"recipes/{n}.yaml").read_text(encoding="utf-8") for n in ("settlement", name))
    (root / "params.yaml").write_text(overlay(default, recipe)[0], encoding="utf-8")
    plan = make_plan(read(project / f"recipes/ablate/{name}.yaml"), root / "params.yaml")
    assert len(plan.variants) >= 6
    assert [v.warnings for v in plan.variants] == [()] * len(plan.variants)
