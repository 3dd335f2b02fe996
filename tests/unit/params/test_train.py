"""Section train: settings without effect warn, wherever they are set, and those with one are silent."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params.load import Params, parse
from pipeline.params.recipes import overlay
from pipeline.params.task import Task
from pipeline.params.train import TrainParams

TASK = Task(bands=["red"], classes=[{"name": n, "color": "#000000"} for n in ("rock", "ice", "lake")])


def check(settings: dict[str, Any]) -> None:
    TrainParams.model_validate({"epochs": 30, **settings}).check(TASK)


def schedule(name: str, **settings: float) -> dict[str, Any]:
    return {"schedule": {"name": name, **settings}}


@pytest.mark.parametrize(("settings", "message"), [
    (schedule("plateau", warmup_epochs=1), "schedule.warmup_epochs has no effect: name is plateau"),
    (schedule("one_cycle", warmup_epochs=3), "schedule.warmup_epochs has no effect: name is one_cycle"),
    (schedule("cosine", patience=3), "schedule.patience has no effect: name is cosine"),
    (schedule("poly", factor=0.5), "schedule.factor has no effect: name is poly"),
    (schedule("constant", floor=0.1), "schedule.floor has no effect: name is constant"),
    (schedule("plateau", floor=0.1), "schedule.floor has no effect: name is plateau"),
    (schedule("one_cycle", floor=0.1), "schedule.floor has no effect: name is one_cycle"),
    (schedule("cosine", restart_epochs=5), "schedule.restart_epochs has no effect: name is cosine"),
    (schedule("cosine", restart_growth=1), "schedule.restart_growth has no effect"),
    (schedule("cosine", power=0.9), "schedule.power has no effect: name is cosine"),
    (schedule("poly", rise=0.3), "schedule.rise has no effect: name is poly"),
    (schedule("poly", start_divisor=10), "schedule.start_divisor has no effect"),
    (schedule("cosine", end_divisor=10), "schedule.end_divisor has no effect"),
    (schedule("restarts", restart_epochs=29, warmup_epochs=1), "restarts never restarts: restart_epochs=29 leaves none "
                                                                "of the 29 epochs"),
    ({"optimizer": {"decay_norms_and_biases": False, "weight_decay": 0}}, "decay_norms_and_biases has no effect: wei"),
    ({"loss": {"weights": {"mcc": 0.5}}, "accumulation": 4}, "mcc is of one part .*, 25% of its patches with "
                                                              "train.accumulation=4: the term gets noisier"),
    ({"loss": {"weights": {"mcc": 0.5}, "ramp": {"terms": ["mcc"], "start_epoch": 20, "epochs": 11}}},
     "weights.mcc never has its whole weight: .*start_epoch=20 and ramp.epochs=11 go beyond train.epochs=30"),
])
def test_without_effect(settings: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        check(settings)
    assert len(caught) == 1


@pytest.mark.parametrize("settings", [
    {}, schedule("plateau", patience=3, factor=0.1, warmup_epochs=0, floor=0), schedule("cosine", floor=0.1),
    schedule("restarts", restart_epochs=28, restart_growth=1, floor=0.1, warmup_epochs=1), schedule("poly", power=2),
    schedule("one_cycle", rise=0.2, start_divisor=10, end_divisor=10, momentum_low=0.85),
    {"optimizer": {"decay_norms_and_biases": False}}, {"loss": {"weights": {"mcc": 0.5}}},
    {"loss": {"weights": {"mcc": 0.5}, "ramp": {"terms": ["mcc"], "start_epoch": 20, "epochs": 10}}},
    {"monitor": "macro_iou", "select": "last"},
])
def test_with_effect(settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(settings)


def test_no_recipe_or_ablation_sets_anything_in_vain(project: Path) -> None:
    """Ablations warn of what they are meant to leave without effect elsewhere; each recipe by itself is silent."""
    base = (project / "params.yaml").read_text(encoding="utf-8")
    for recipe in sorted((project / "recipes").glob("*.yaml")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            changed, _ = overlay(base, recipe.read_text(encoding="utf-8"))
            parse(changed)
    for file in sorted((project / "recipes/ablate").glob("*.yaml")):
        text, _ = overlay(base, (project / "recipes" / file.name).read_text(encoding="utf-8"))
        for name, changes in YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))["changes"].items():
            raw = YAML(typ="safe", pure=True).load(text)
            for key, value in changes.items():
                node = raw
                *parents, last = key.split(".")
                for part in parents:
                    node = node.setdefault(part, {})
                node[last] = value
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                Params(raw)
            assert not [str(w.message) for w in caught], name
