"""Files beside params.yaml in which a user declares something by a schema of its own: an ablation, a search."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import ParamsError
from pipeline.params.base import Section

S = TypeVar("S", bound=Section)

#: Where in the file an error lies, as pydantic says it.
Location = tuple[int | str, ...]


def read_declared(path: Path, model: type[S], subject: str, examples: str,
                  known: Callable[[Location], Sequence[str]]) -> S:
    """Read a YAML 1.2 file into its schema; a field `name` left empty is the file's name without its ending.

    Args:
        path: the file.
        model: its schema, with a field `name`.
        subject: what is declared in it, such as "an ablation".
        examples: a folder that has such files.
        known: the keys that are possible at a place.

    Raises:
        ParamsError: there is no such file, it is not YAML, or it breaks the schema.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ParamsError(f"{subject} must be declared in a YAML file: {path} is none; see docs/experiments.md and "
                          f"{examples}") from error
    except YAMLError as error:
        raise ParamsError(f"{path} must be YAML 1.2: {' '.join(str(error).split())}") from error
    declared = {} if raw is None else raw
    if isinstance(declared, dict) and not declared.get("name"):
        declared = {**declared, "name": path.stem}
    try:
        return model.model_validate(declared)
    except ValidationError as error:
        raise ParamsError(f"{path}: {_first(error, known)}") from error


def _first(error: ValidationError, known: Callable[[Location], Sequence[str]]) -> str:
    """What is wrong, unknown keys first: they often explain a missing one."""
    found = error.errors()
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = known(first["loc"])
        close = difflib.get_close_matches(str(first["loc"][-1]), keys, n=1, cutoff=0.5)
        return f"{where} is not a known key; " + (f"did you mean {close[0]!r}?" if close else
                                                  f"known here: {', '.join(sorted(keys))}")
    if first["type"] == "value_error":
        return f"{where}: ".removeprefix(": ") + first["msg"].removeprefix("Value error, ")
    return f"{where or 'the file'}: {first['msg']}: got {first['input']!r}"
