"""Dotted keys: they change what they name, and nothing else."""

import pytest

from pipeline.errors import ParamsError
from pipeline.params.changes import is_section, leaves, with_changes
from pipeline.params.dotted import value_at

RAW = {"seed": 1, "train": {"optimizer": {"lr": 0.1, "momentum": 0.5}, "epochs": 3}}


def test_keys_are_set_in_a_copy() -> None:
    changed = with_changes(RAW, {"train.optimizer.lr": 0.2, "train.loss.weights.dice": 1.0})
    assert changed == {"seed": 1, "train": {"optimizer": {"lr": 0.2, "momentum": 0.5}, "epochs": 3,
                                            "loss": {"weights": {"dice": 1.0}}}}
    assert RAW["train"] == {"optimizer": {"lr": 0.1, "momentum": 0.5}, "epochs": 3}


def test_sections_change_what_they_name_and_the_users_own_mappings_are_taken_whole() -> None:
    changes = {"train.optimizer": {"lr": 0.2}, "train.loss": {"given_weights": {"water": 2}, "focal": {"gamma": 1}}}
    assert leaves(changes) == {"train.optimizer.lr": 0.2, "train.loss.given_weights": {"water": 2},
                               "train.loss.focal.gamma": 1}
    assert with_changes(RAW, changes)["train"]["optimizer"] == {"lr": 0.2, "momentum": 0.5}


def test_a_changed_value_is_not_the_declarations_own() -> None:
    channels = [1, 2]
    with_changes(RAW, {"train.network.decoder_channels": channels})["train"]["network"]["decoder_channels"].append(3)
    assert channels == [1, 2]


def test_a_key_through_a_value_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"train.epochs.most must be a key of params.yaml: train.epochs is 3, which"):
        with_changes(RAW, {"train.epochs.most": 1})


def test_values_are_found_and_sections_known() -> None:
    assert value_at(RAW, "train.optimizer.lr") == 0.1
    assert value_at(RAW, "train.optimizer.lr.x") is None
    assert value_at(RAW, "evaluate.tiles") is None
    assert is_section("train.loss.weights")
    assert not any(map(is_section, ("train.loss.given_weights", "train.epochs", "seed", "train.loss.unknown.x")))
