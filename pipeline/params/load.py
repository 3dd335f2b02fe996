"""Read params.yaml whole, validate all of it, hand a stage its sections.

Sections are imported by name on purpose: a stage depends on the schema of its own sections only, yet no stage starts
with a params.yaml that another stage would refuse.
"""

import difflib
import importlib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import ParamsError
from pipeline.params.base import Section

#: Section -> (module, class). `seed` is a plain number.
SECTIONS = {
    "task": ("pipeline.params.task", "Task"),
    "acquire": ("pipeline.params.acquire", "AcquireParams"),
    "refine_labels": ("pipeline.params.refine_labels", "RefineParams"),
    "rasterize": ("pipeline.params.rasterize", "RasterizeParams"),
    "spatial_split": ("pipeline.params.spatial_split", "SplitParams"),
    "train": ("pipeline.params.train", "TrainParams"),
    "evaluate": ("pipeline.params.evaluate", "EvaluateParams"),
    "export": ("pipeline.params.export", "ExportParams"),
}

S = TypeVar("S", bound=Section)


class Params:
    """All of params.yaml, validated. `section(TrainParams)` gives one section by its class."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self._sections: dict[str, Section] = {}
        self.seed = self._validate_seed(raw)
        unknown = sorted(str(key) for key in set(raw) - {"seed", *SECTIONS})
        if unknown:
            raise ParamsError(_unknown_key(unknown[0], unknown[0], ["seed", *SECTIONS]))
        for name, (module, cls) in SECTIONS.items():
            model = getattr(importlib.import_module(module), cls)
            self._sections[name] = _validated(name, model, raw.get(name, {}))
        task = self._sections["task"]
        for section in self._sections.values():
            if hasattr(section, "check"):
                try:
                    section.check(task)
                except ValueError as error:
                    raise ParamsError(f"params.yaml: {error}") from error
        held_out, folds = (self._sections[name].model_dump()["folds"] for name in ("train", "spatial_split"))
        if held_out not in (1, folds):
            raise ParamsError(f"params.yaml: train.folds must be 1 or spatial_split.folds={folds}: got {held_out}")

    @staticmethod
    def _validate_seed(raw: dict[str, Any]) -> int:
        seed = raw.get("seed")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise ParamsError(f"params.yaml: seed must be a whole number from 0 to 4294967295: got {seed!r}")
        return seed

    def section(self, cls: type[S]) -> S:
        """The section of that class."""
        for section in self._sections.values():
            if type(section) is cls:
                return section
        raise KeyError(cls.__name__)

    def dump(self, *names: str) -> dict[str, Any]:
        """The named sections (all without names) as plain data with defaults filled in, for records."""
        chosen = names or ("seed", *SECTIONS)
        return {n: self.seed if n == "seed" else self._sections[n].model_dump(mode="json") for n in chosen}


def load(path: Path) -> Params:
    """Read and validate a params file.

    Raises:
        ParamsError: the file is missing, is not YAML, or breaks the schema; the message names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ParamsError(f"{path.name} must exist in the working folder: not found; "
                          "run in the project's root") from error
    return parse(text, path.name)


def parse(text: str, name: str = "params.yaml") -> Params:
    """Validate the text of a params file as YAML 1.2, the way DVC reads it.

    Raises:
        ParamsError: the text is not YAML, or breaks the schema; the message names the key.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ParamsError(f"{name} must be YAML 1.2: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ParamsError(f"{name} must hold sections: got {type(raw).__name__}")
    return Params(raw)


def _validated(name: str, model: type[Section], value: Any) -> Section:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors()  # an unknown key comes first: it often explains a missing one
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        where = ".".join(str(p) for p in (name, *first["loc"]))
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, first["loc"][:-1])
            raise ParamsError(_unknown_key(where, str(first["loc"][-1]), known)) from error
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise ParamsError(f"params.yaml: {message} (in {where})") from error
        raise ParamsError(f"params.yaml: {where}: {message}: got {first['input']!r}") from error


def _unknown_key(where: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    remedy = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
    return f"params.yaml: {where} is not a known key; {remedy}"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the nested model at an error's location."""
    current: Any = model
    for part in loc:
        if isinstance(part, int) or part not in current.model_fields:
            continue  # a place in a list, or a key of a mapping
        annotation = current.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        current = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(current.model_fields)
