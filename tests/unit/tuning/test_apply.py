"""The winner in params.yaml: nothing else changes, and nothing is written beside settings it was not found with."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.params.load import load
from pipeline.paths import Paths
from pipeline.tuning.apply import apply, fixed_keys
from pipeline.tuning.space import TuneFile

TEXT = """# mine
seed: 1
task:
  bands: [red, nir]
  classes:
    - {name: land, color: "#b8b0a4"}   # first
    - {name: water, color: "#2e86ab"}
  background: land
train:
  batch_size: 8               # per step
  loss:
    weights: {cross_entropy: 1.0, dice: 0.5}   # summed
  patches:
    sampling: {name: balanced, composition: {water: 0.5}}

  optimizer: {lr: 1e-3, weight_decay: 1e-2}  # rates
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "params.yaml").write_text(TEXT, encoding="utf-8")
    return Paths(tmp_path)


def tune(*keys: str) -> TuneFile:
    return TuneFile.model_validate({"name": "t", "space": {key: {"low": 0.0001, "high": 0.5} for key in keys}})


def applied(paths: Paths, changes: dict[str, Any]) -> tuple[str, Any]:
    declared = tune(*changes)
    began = fixed_keys(load(paths.params_file), declared)
    done = apply(paths, declared, changes, began)
    return paths.params_file.read_text(encoding="utf-8"), done


def test_only_the_values_change_and_comments_stay(paths: Paths) -> None:
    text, done = applied(paths, {"train.optimizer.lr": 0.00012, "train.loss.weights.dice": 0.25})
    expected = TEXT.replace("1e-3", "0.00012").replace("dice: 0.5", "dice: 0.25")
    assert text == expected
    assert dict(done.changed) == {"train.optimizer.lr": (0.001, 0.00012), "train.loss.weights.dice": (0.5, 0.25)}
    assert str(done).splitlines() == [
        "  train.optimizer.lr: 0.001 -> 0.00012", "  train.loss.weights.dice: 0.5 -> 0.25",
        "params.yaml has the best trial's settings (2 changed); `dvc repro` makes the model"]


def test_keys_that_params_yaml_does_not_have_are_added(paths: Paths) -> None:
    text, done = applied(paths, {"train.loss.weights.focal": 0.5, "train.loss.focal.gamma": 3.0,
                                 "train.ema_decay": 0.3})
    assert "weights: {cross_entropy: 1.0, dice: 0.5, focal: 0.5}   # summed" in text
    assert {line.strip() for line in TEXT.splitlines()} - {line.strip() for line in text.splitlines()} == {
        "weights: {cross_entropy: 1.0, dice: 0.5}   # summed"}
    raw = YAML(typ="safe", pure=True).load(text)["train"]
    assert (raw["loss"]["focal"], raw["ema_decay"]) == ({"gamma": 3.0}, 0.3)
    assert done.changed["train.ema_decay"] == (0.0, 0.3)


def test_one_of_the_users_own_names_changes_alone(paths: Paths) -> None:
    text, _ = applied(paths, {"train.patches.sampling.composition.water": 0.125})
    raw = YAML(typ="safe", pure=True).load(text)["train"]
    assert raw["patches"]["sampling"] == {"name": "balanced", "composition": {"water": 0.125}}
    assert text.count("#") == TEXT.count("#")


def test_lists_words_and_sections_are_written(paths: Paths) -> None:
    choices = {"train.network.decoder_channels": [64, 32, 16, 8], "train.loss.class_weights": "none",
               "train.schedule": {"name": "poly", "power": 0.5}, "train.patches.flips_and_rotations": False}
    declared = TuneFile.model_validate({"name": "t", "space": {
        key: {"choices": [value, dict.fromkeys(value) if isinstance(value, dict) else None]}
        for key, value in choices.items()}})
    done = apply(paths, declared, choices, fixed_keys(load(paths.params_file), declared))
    raw = load(paths.params_file).raw["train"]
    assert raw["network"]["decoder_channels"] == [64, 32, 16, 8]
    assert raw["loss"]["class_weights"] == "none"
    assert raw["schedule"] == {"name": "poly", "power": 0.5}
    assert raw["patches"]["flips_and_rotations"] is False
    assert done.changed["train.schedule.name"] == ("cosine", "poly")


def test_of_own_names_only_the_searched_one_is_left_out_of_what_is_fixed(paths: Paths) -> None:
    text = TEXT.replace("composition: {water: 0.5}", "composition: {water: 0.5, land: 0.5}")
    paths.params_file.write_text(text, encoding="utf-8")
    fixed = fixed_keys(load(paths.params_file), tune("train.patches.sampling.composition.water"))
    assert fixed["train.patches.sampling.composition"] == {"land": 0.5}


def test_applied_twice_changes_nothing(paths: Paths) -> None:
    before, _ = applied(paths, {"train.optimizer.lr": 0.25})
    after, done = applied(paths, {"train.optimizer.lr": 0.25})
    assert after == before
    assert not done.changed
    assert "already; `dvc repro` makes the model" in str(done)


def test_other_keys_of_train_that_have_changed_are_told(paths: Paths) -> None:
    declared = tune("train.optimizer.lr")
    began = fixed_keys(load(paths.params_file), declared)
    # The searched key, another section and a value that is the default anyway are no change.
    moved = TEXT.replace("1e-3", "5e-3").replace("seed: 1", "seed: 2").replace("batch_size: 8", "epochs: 30")
    paths.params_file.write_text(moved, encoding="utf-8")
    assert apply(paths, declared, {"train.optimizer.lr": 0.25}, began).changed
    moved = TEXT.replace("batch_size: 8 ", "batch_size: 16")
    paths.params_file.write_text(moved, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"study t began with, .*: train.batch_size: 8 -> 16; take that back"):
        apply(paths, declared, {"train.optimizer.lr": 0.25}, began)
    assert paths.params_file.read_text(encoding="utf-8") == moved


def test_a_result_that_breaks_the_schema_is_not_written(paths: Paths) -> None:
    with pytest.raises(ParamsError, match=r"train\.optimizer\.lr.*greater than 0"):
        applied(paths, {"train.optimizer.lr": 0.0})
    assert paths.params_file.read_text(encoding="utf-8") == TEXT
