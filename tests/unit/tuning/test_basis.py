"""Which settings of section train a study stands on: all but those that its space sets."""

from collections.abc import Mapping
from typing import Any

from pipeline.params.load import parse
from pipeline.tuning.basis import fixed_keys
from pipeline.tuning.space import TuneFile

TEXT = """seed: 1
task:
  bands: [red, nir]
  classes:
    - {name: land, color: "#b8b0a4"}
    - {name: water, color: "#2e86ab"}
  background: land
train:
  batch_size: 8
  patches:
    sampling: {name: balanced, composition: {water: 0.5, land: 0.5}}
  optimizer: {lr: 1e-3, weight_decay: 1e-2}
"""


def fixed(text: str, *keys: str) -> Mapping[str, Any]:
    tune = TuneFile.model_validate({"name": "t", "space": {key: {"low": 0.0001, "high": 0.5} for key in keys}})
    return fixed_keys(parse(text), tune)


def test_of_own_names_only_the_searched_one_is_left_out() -> None:
    found = fixed(TEXT, "train.patches.sampling.composition.water")
    assert found["train.patches.sampling.composition"] == {"land": 0.5}


def test_searched_keys_other_sections_and_spelled_out_defaults_are_no_change() -> None:
    other = TEXT.replace("1e-3", "5e-3").replace("seed: 1", "seed: 2").replace("batch_size: 8", "epochs: 30")
    assert fixed(other, "train.optimizer.lr") == fixed(TEXT, "train.optimizer.lr")
    assert fixed(TEXT, "train.optimizer.lr") != fixed(TEXT, "train.optimizer.weight_decay")


def test_another_key_of_train_is_a_change() -> None:
    now = fixed(TEXT.replace("batch_size: 8", "batch_size: 16"), "train.optimizer.lr")
    then = fixed(TEXT, "train.optimizer.lr")
    assert {key for key in now if now[key] != then[key]} == {"train.batch_size"}
