"""Changes of params.yaml by dotted keys, as ablations and searches declare them: `{train.optimizer.lr: 3e-4}`."""

import copy
import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipeline.errors import ParamsError
from pipeline.params.load import SECTIONS

#: Dotted keys of params.yaml with their values.
Changes = Mapping[str, Any]


def leaves(changes: Changes) -> dict[str, Any]:
    """Mappings that are sections resolved into their keys, so that they change what they name and nothing else."""
    result: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, Mapping) and is_section(key):
            result |= leaves({f"{key}.{name}": item for name, item in value.items()})
        else:
            result[key] = value
    return result


def is_section(key: str) -> bool:
    """Whether a dotted key names a section of the schema (rather than a value, or nothing)."""
    first, *rest = key.split(".")
    if first not in SECTIONS:
        return False
    module, name = SECTIONS[first]
    model: Any = getattr(importlib.import_module(module), name)
    for part in rest:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return False
    return True


def with_changes(raw: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """A copy of the raw params with dotted keys set.

    Raises:
        ParamsError: a key leads through something that has no keys.
    """
    result: dict[str, Any] = copy.deepcopy(dict(raw))
    for key, value in leaves(changes).items():
        node: dict[str, Any] = result
        *parents, last = key.split(".")
        for depth, part in enumerate(parents):
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise ParamsError(f"{key} must be a key of params.yaml: {'.'.join(parents[:depth + 1])} is "
                                  f"{child!r}, which has no keys; set it as a whole")
            node = child
        node[last] = copy.deepcopy(value)
    return result
