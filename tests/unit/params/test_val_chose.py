"""What the val part has a say in follows the params, and a member's model.json records it."""

from typing import Any

import pytest

from pipeline.params.train import TrainParams


@pytest.mark.parametrize(("section", "chose", "decides"), [
    ({}, ("epoch",), True),
    ({"select": "last"}, (), False),
    ({"select": "last", "early_stop_patience": 3}, ("stop",), True),
    ({"select": "last", "schedule": {"name": "plateau"}}, ("rate",), True),
    ({"select": "last", "calibration": {"temperature": True}}, ("temperature",), False),
    ({"calibration": {"temperature": True}}, ("epoch", "temperature"), True)])
def test_what_val_chooses(section: dict[str, Any], chose: tuple[str, ...], decides: bool) -> None:
    params = TrainParams.model_validate(section)
    assert (params.val_chose, params.val_decides) == (chose, decides)
