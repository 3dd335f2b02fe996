"""From the values in a user's files to class names: each value is mapped, or declared "ignore", or refused."""

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping

import numpy as np
import pandas as pd

from pipeline.errors import LabelError

IGNORE = "ignore"
#: Unmapped values that a message lists before it only counts them.
_LISTED = 20


def value_key(value: Hashable) -> str:
    """The key under which a mapping finds a value: "" for a missing one, "1" for 1 and 1.0, else its text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def check_mapped(counts: Mapping[str, int], mapping: Mapping[str, str], subject: str, setting: str) -> None:
    """See that every key that occurs is mapped; warn of mapped keys that do not occur.

    Args:
        counts: key -> how often it occurs.
        mapping: key -> class name or "ignore".
        subject: what holds the values, for the message.
        setting: the parameter that maps them.

    Raises:
        LabelError: a key is not in the mapping; the message lists them with their counts.
    """
    unmapped = {key: n for key, n in counts.items() if key not in mapping}
    if unmapped:
        found = ", ".join(f"{key!r} ({n} times)" for key, n in sorted(unmapped.items())[:_LISTED])
        found += f" and {len(unmapped) - _LISTED} more" if len(unmapped) > _LISTED else ""
        raise LabelError(f"{subject}: every value must be mapped to a class or to {IGNORE!r}, but {found} "
                         f"{'is' if len(unmapped) == 1 else 'are'} not; add to {setting}")
    if unused := sorted(set(mapping) - set(counts)):
        warnings.warn(f"{setting} maps values that do not occur in {subject}: {unused}", stacklevel=2)


def count_keys(keys: Iterable[str]) -> dict[str, int]:
    """How often each key occurs."""
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts
