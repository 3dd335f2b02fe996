"""Write a study's winner into params.yaml, where it becomes the configuration of an ordinary build.

The text is spliced, as recipes are laid over it: comments, order and everything that the winner does not change stay as
they are, byte for byte.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from pipeline.errors import IntegrityError
from pipeline.params.changes import is_section, leaves, with_changes
from pipeline.params.dotted import value_at
from pipeline.params.load import load, parse
from pipeline.params.recipes import overlay
from pipeline.paths import Paths, staged_file


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


def apply(paths: Paths, changes: Mapping[str, Any]) -> Applied:
    """Write the changed keys of a trial into params.yaml.

    Args:
        paths: where params.yaml lies.
        changes: dotted keys and values of the trial.

    Raises:
        ParamsError: params.yaml with the changes breaks the schema.
        IntegrityError: the written file would not say what was meant.
    """
    params = load(paths.params_file)
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
