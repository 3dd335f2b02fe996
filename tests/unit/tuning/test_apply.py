"""The winner in params.yaml: nothing else changes, and nothing is written that breaks the schema."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.params.load import load
from pipeline.paths import Paths
from pipeline.tuning.apply import apply

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


def applied(paths: Paths, changes: dict[str, Any]) -> tuple[str, Any]:
    done = apply(paths, changes)
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
    done = apply(paths, choices)
    raw = load(paths.params_file).raw["train"]
    assert raw["network"]["decoder_channels"] == [64, 32, 16, 8]
    assert raw["loss"]["class_weights"] == "none"
    assert raw["schedule"] == {"name": "poly", "power": 0.5}
    assert raw["patches"]["flips_and_rotations"] is False
    assert done.changed["train.schedule.name"] == ("cosine", "poly")


def test_applied_twice_changes_nothing(paths: Paths) -> None:
    before, _ = applied(paths, {"train.optimizer.lr": 0.25})
    after, done = applied(paths, {"train.optimizer.lr": 0.25})
    assert after == before
    assert not done.changed
    assert "already; `dvc repro` makes the model" in str(done)


def test_a_result_that_breaks_the_schema_is_not_written(paths: Paths) -> None:
    with pytest.raises(ParamsError, match=r"train\.optimizer\.lr.*greater than 0"):
        applied(paths, {"train.optimizer.lr": 0.0})
    assert paths.params_file.read_text(encoding="utf-8") == TEXT
