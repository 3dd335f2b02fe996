"""Dotted keys in plain data: `train.optimizer.lr`. Imports nothing of the schema."""

from collections.abc import Mapping
from typing import Any


def value_at(values: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
