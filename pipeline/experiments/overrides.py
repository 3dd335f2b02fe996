"""A change of params.yaml as `dvc exp run -S` takes it: words of Hydra's override grammar.

`++key=value` sets a key whether params.yaml has it or not, `~key` takes it out. A mapping with the user's own names
(class names, say) is taken whole, as recipes are: what the new one does not name is taken out.

Source: hydra.cc, "Basic Override syntax" and "Extended Override syntax".
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import ParamsError

_PLAIN_KEY = re.compile(r"^[A-Za-z0-9_]+$")


def words(key: str, old: Any, value: Any) -> list[str]:
    """The overrides that bring a dotted key from its old value (None where it has none) to the new one.

    Raises:
        ParamsError: the value is of a kind that DVC cannot be handed.
    """
    if not isinstance(value, Mapping) or not value:
        gone = [f"~{key}.{name}" for name in old] if isinstance(old, Mapping) and isinstance(value, Mapping) else []
        return gone or [f"++{key}={literal(key, value)}"]
    before = old if isinstance(old, Mapping) else {}
    result = [f"~{key}.{name}" for name in before if name not in value]
    for name, item in value.items():
        if not _PLAIN_KEY.match(str(name)):
            raise ParamsError(f"{key} must have names of letters, digits and underscores where an experiment sets it: "
                              f"got {name!r}; set it in params.yaml for all variants")
        result += words(f"{key}.{name}", before.get(name), item)
    return result


def literal(key: str, value: Any) -> str:
    """A value in Hydra's words.

    Raises:
        ParamsError: the value is of a kind that Hydra has no words for.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(literal(key, item) for item in value) + "]"
    if isinstance(value, Mapping) and all(_PLAIN_KEY.match(str(name)) for name in value):
        return "{" + ",".join(f"{name}:{literal(key, item)}" for name, item in value.items()) + "}"
    raise ParamsError(f"{key} must be numbers, words, lists or mappings of them: got {value!r}")


def _quoted(text: str) -> str:
    """In single quotes; backslashes double before a quote and at the end, and stay as they are elsewhere."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"
