"""Write a study's winner into params.yaml, where it becomes the configuration of an ordinary build.

The text is spliced, as recipes are laid over it: comments, order and everything that the winner does not change stay as
they are, byte for byte.
"""

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from pipeline.errors import IntegrityError, ParamsError
from pipeline.params.changes import is_section, leaves, value_at, with_changes
from pipeline.params.load import Params, load, parse
from pipeline.params.recipes import overlay
from pipeline.paths import Paths, staged_file
from pipeline.tuning.space import TuneFile


def fixed_keys(params: Params, tune: TuneFile) -> dict[str, Any]:
    """Section train by dotted keys, defaults included, without those that the space sets; plain data with a JSON form.

    A study keeps what it began with, so that its winner is not written beside settings it was not found with.
    """
    whole = leaves({"train": params.dump("train")["train"]})
    fixed = {key: _without(key, value, tune.leaves.keys()) for key, value in whole.items() if key not in tune.leaves}
    plain: dict[str, Any] = json.loads(json.dumps(fixed))
    return plain


def _without(key: str, value: Any, searched: Collection[str]) -> Any:
    """A value without what is searched of it: of a mapping with the user's own names the space may set one."""
    if not isinstance(value, Mapping):
        return value
    return {name: item for name, item in value.items() if f"{key}.{name}" not in searched}


@dataclass(frozen=True)
class Applied:
    """What was written: the dotted keys whose values changed, with the old value (defaults included) and the new."""

    changed: Mapping[str, tuple[Any, Any]]

    def __str__(self) -> str:
        """For the user."""
        if not self.changed:
            return "params.yaml has the best trial's settings already; `dvc repro` makes the model"
        lines = [f"  {key}: {old} -> {new}" for key, (old, new) in self.changed.items()]
        return "\n".join([*lines, f"params.yaml has the best trial's settings ({len(lines)} changed); `dvc repro` "
                                  "makes the model"])


def apply(paths: Paths, tune: TuneFile, changes: Mapping[str, Any], began: Mapping[str, Any]) -> Applied:
    """Write the changed keys of a trial into params.yaml.

    Args:
        paths: where params.yaml lies.
        tune: the search.
        changes: dotted keys and values of the trial.
        began: `fixed_keys` when the study began.

    Raises:
        ParamsError: other keys of section train have changed since the study began, or params.yaml with the changes
            breaks the schema.
        IntegrityError: the written file would not say what was meant.
    """
    params = load(paths.params_file)
    now = fixed_keys(params, tune)
    moved = [f"{key}: {began.get(key)} -> {now.get(key)}" for key in sorted(began.keys() | now.keys())
             if began.get(key) != now.get(key)]
    if moved:
        raise ParamsError(f"params.yaml must have the section train that the study {tune.name} began with, as its best "
                          f"settings were found beside that: {'; '.join(moved)}; take that back")
    text = paths.params_file.read_text(encoding="utf-8")
    meant = with_changes(params.raw, changes)
    new = overlay(text, _as_recipe(meant, changes))[0]
    if parse(new).raw != meant:
        raise IntegrityError("params.yaml must say what the best trial was trained with: it cannot be spliced in; "
                             f"write these keys yourself: {dict(changes)}")
    before, after = params.dump(), parse(new).dump()
    if new != text:
        with staged_file(paths.params_file) as partial:
            partial.write_text(new, encoding="utf-8")
    told = {key: (value_at(before, key), value_at(after, key)) for key in leaves(changes)}
    return Applied({key: pair for key, pair in told.items() if pair[0] != pair[1]})


def _as_recipe(meant: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """A recipe that brings the changes; mappings with the user's own names stand in it whole, as recipes take them."""
    tree: dict[str, Any] = {}
    for key in leaves(changes):
        *parents, last = key.split(".")
        depth = next((i for i in range(1, len(parents) + 1) if not is_section(".".join(parents[:i]))), None)
        if depth is not None:
            parents, last = parents[:depth - 1], parents[depth - 1]
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value_at(meant, ".".join([*parents, last]))
    yaml, out = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style = None
    yaml.width = 10**6
    yaml.dump(tree, out)
    return out.getvalue()
