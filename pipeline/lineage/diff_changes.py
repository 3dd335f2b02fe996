"""How two sets of named bytes differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Changes:
    """Names that only the first has, only the second has, or both have with different bytes."""

    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    #: How many are equal.
    equal: int = 0

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"removed": list(self.removed), "added": list(self.added), "changed": list(self.changed),
                "equal": self.equal}


def changes(first: Mapping[str, str], second: Mapping[str, str]) -> Changes:
    """How two {name: digest} differ."""
    both = first.keys() & second.keys()
    changed = sorted(name for name in both if first[name] != second[name])
    return Changes(tuple(sorted(first.keys() - both)), tuple(sorted(second.keys() - both)), tuple(changed),
                   len(both) - len(changed))
