"""Whether the values of params that a file gives are those on record."""

from collections.abc import Mapping
from typing import Any


def contained(given: Any, recorded: Any) -> bool:
    """Whether the values that a params.yaml gives are those on record, where defaults are filled in."""
    if isinstance(given, Mapping):
        return isinstance(recorded, Mapping) and all(
            str(key) in recorded and contained(value, recorded[str(key)]) for key, value in given.items())
    if isinstance(given, list | tuple):
        return (isinstance(recorded, list | tuple) and len(given) == len(recorded)
                and all(contained(a, b) for a, b in zip(given, recorded, strict=True)))
    return bool(given == recorded)
