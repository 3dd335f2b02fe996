"""Recipes: overlays of params.yaml, one a use case, laid over it without losing a comment.

A recipe is a part of a params file. Its sections are merged into those of params.yaml key by key; lists, and mappings
whose keys are the user's own names (class names, say), are taken whole. The text is spliced rather than dumped anew, so
everything the recipe does not touch stays as it was, byte for byte. What another recipe has brought, and neither the
default recipe nor the new one names, is taken out first and goes back to its default: of recipes that lie in the file
(half of what they bring beyond the default is there), those values that are still the recipe's. What the user wrote
stays.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

from pipeline.errors import ParamsError
from pipeline.params.load import SECTIONS, parse
from pipeline.paths import staged_file

#: The recipe that params.yaml comes with.
DEFAULT = "settlement"


@dataclass(frozen=True)
class Recipe:
    """A recipe's name, its first comment line, and its file."""

    name: str
    summary: str
    path: Path


@dataclass(frozen=True)
class _Splice:
    """Characters `start` to `end` of the old text become `text`; `key` is what changes, for the user."""

    start: int
    end: int
    text: str
    key: str


def available(folder: Path) -> list[Recipe]:
    """All recipes of a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        found.append(Recipe(path.stem, first.lstrip("# ").rstrip() if first.startswith("#") else "", path))
    return found


def use(params_file: Path, folder: Path, name: str) -> list[str]:
    """Lay a recipe over the params file, which is written only if the result is valid.

    Returns:
        What changed: `removed <key>: <old value>` of another recipe's leftovers, and the keys this recipe sets.

    Raises:
        ParamsError: there is no such recipe, or params.yaml with the recipe laid over it breaks the schema.
    """
    recipes = {r.name: r for r in available(folder)}
    if name not in recipes:
        raise ParamsError(f"recipe must be one of {sorted(recipes)}: got {name!r}; see `kumulus recipe list`")
    if not params_file.exists():
        raise ParamsError(f"{params_file.name} must exist in the working folder: not found; run in the project's root")
    texts = {known: recipe.path.read_text(encoding="utf-8") for known, recipe in recipes.items()}
    text, gone = without_leftovers(params_file.read_text(encoding="utf-8"), name, texts)
    text, changed = overlay(text, texts[name])
    changed = [*(f"removed {entry}" for entry in gone), *changed]
    try:
        parse(text)
    except ParamsError as error:
        raise ParamsError(f"recipe {name} must give a valid params.yaml, which stays as it was: {error}") from error
    if changed:
        with staged_file(params_file) as partial:
            partial.write_text(text, encoding="utf-8")
    return changed


def overlay(params_text: str, recipe_text: str) -> tuple[str, list[str]]:
    """The text of params.yaml with the recipe laid over it, and the dotted keys whose values changed.

    Raises:
        ParamsError: one of the texts is not a YAML mapping.
    """
    base, top = _compose(params_text, "params.yaml"), _compose(recipe_text, "recipe")
    splices = list(_merge(base, top, params_text, recipe_text, None, ""))
    for splice in sorted(splices, key=lambda s: s.start, reverse=True):
        params_text = params_text[: splice.start] + splice.text + params_text[splice.end :]
    return params_text, [splice.key for splice in splices]


def without_leftovers(params_text: str, name: str, recipes: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text without the values that other recipes brought, and these (`key: value`, keys dotted).

    Args:
        params_text: of params.yaml.
        name: of the recipe about to be laid over it.
        recipes: text of each recipe by name; without the default one nothing is taken out.

    Raises:
        ParamsError: one of the texts is not a YAML mapping.
    """
    nodes = {known: _compose(text, f"recipe {known}") for known, text in recipes.items()}
    if DEFAULT not in nodes:
        return params_text, []
    base = _compose(params_text, "params.yaml")
    kept = {**_leaves(nodes[DEFAULT], None, ""), **_leaves(nodes[name], None, "")}
    stale = _leftovers(base, [node for known, node in nodes.items() if known not in (DEFAULT, name)],
                       _leaves(nodes[DEFAULT], None, ""))
    gone = {key for key in stale if key not in kept}
    present = _leaves(base, None, "")
    told = [f"{key}: {' '.join(_render(value, params_text, 0, flow=True).split())}" for key, value in present.items()
            if key in gone]
    splices = list(_removals(base, params_text, gone, None, ""))
    for splice in sorted(splices, key=lambda s: s.start, reverse=True):
        params_text = params_text[: splice.start] + params_text[splice.end :]
    return params_text, told


def _leftovers(base: MappingNode, others: Sequence[MappingNode], default: Mapping[str, Node]) -> set[str]:
    """Keys of params.yaml with the very value of a recipe that lies in it, beyond those of the default one."""
    present = {key: _plain(value) for key, value in _leaves(base, None, "").items()}
    found: set[str] = set()
    for node in others:
        brought = {key: value for key, value in _leaves(node, None, "").items() if key not in default}
        equal = {key for key, value in brought.items() if key in present and present[key] == _plain(value)}
        if 2 * len(equal) >= len(brought):  # fewer are the user's own, equal by chance
            found |= equal
    return found


def _leaves(node: MappingNode, model: type[BaseModel] | None, prefix: str) -> dict[str, Node]:
    """Dotted key -> value of everything that is no section."""
    found: dict[str, Node] = {}
    for key, value in node.value:
        dotted, section = f"{prefix}{key.value}", _section(model, key.value)
        if section and isinstance(value, MappingNode):
            found |= _leaves(value, section, f"{dotted}.")
        else:
            found[dotted] = value
    return found


def _removals(base: MappingNode, text: str, gone: set[str], model: type[BaseModel] | None,
              prefix: str) -> Iterator[_Splice]:
    """Splices that take entries out: whole lines, or runs of a mapping on one line with their commas.

    A section that nothing is left of goes whole, since a key without a value would be null.
    """
    run: tuple[int, int] | None = None
    before = int(base.start_mark.index) + 1  # where the last kept entry of a mapping on one line ends
    for key, value in base.value:
        dotted, start, section = f"{prefix}{key.value}", int(key.start_mark.index), _section(model, key.value)
        inner = _leaves(value, section, f"{dotted}.") if section and isinstance(value, MappingNode) else {dotted: value}
        if not inner or not inner.keys() <= gone:
            if run:
                yield _Splice(run[0], start, "", dotted)
                run = None
            before = _end(value)
            if section and isinstance(value, MappingNode):
                yield from _removals(value, text, gone, section, f"{dotted}.")
        elif base.flow_style:
            run = (run[0] if run else start, _end(value))
        else:
            line, end = text.rfind("\n", 0, start) + 1, text.find("\n", _end(value))
            yield _Splice(line, end + 1 if end >= 0 else len(text), "", dotted)
    if run:
        yield _Splice(before, run[1], "", prefix)


def _compose(text: str, subject: str) -> MappingNode:
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise ParamsError(f"{subject} must be YAML 1.2: {' '.join(str(error).split())}") from error
    if not isinstance(node, MappingNode):
        raise ParamsError(f"{subject} must hold sections: got {'nothing' if node is None else node.tag}")
    return node


def _merge(base: MappingNode, top: MappingNode, text: str, recipe: str, model: type[BaseModel] | None,
           prefix: str) -> Iterator[_Splice]:
    """Splices that bring the keys of `top` into `base`; `model` is the section both describe (None: the whole file)."""
    present = {key.value: (key, value) for key, value in base.value}
    added = []
    for key, value in top.value:
        dotted = f"{prefix}{key.value}"
        section = _section(model, key.value)
        if key.value not in present:
            added.append((key, value))
            continue
        old_key, old = present[key.value]
        if section and isinstance(old, MappingNode) and isinstance(value, MappingNode):
            yield from _merge(old, value, text, recipe, section, f"{dotted}.")
        elif _plain(old) != _plain(value):
            yield _replacement(base, old_key, old, value, text, recipe, dotted)
    if added:
        yield _addition(base, added, text, recipe, prefix)


def _section(model: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The schema of a key whose value is a section, None where it is a value (or unknown)."""
    if model is None:
        if key not in SECTIONS:
            return None
        module, name = SECTIONS[key]
        found: type[BaseModel] = getattr(importlib.import_module(module), name)
        return found
    field = model.model_fields.get(key)
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _plain(node: Node) -> Any:
    """The value of a node, as YAML 1.2 reads it."""
    return YAML(typ="safe", pure=True).constructor.construct_document(node)


def _end(node: Node) -> int:
    """Where a node's last character lies (a block's own end mark lies behind the comments that follow it)."""
    if not _is_block(node) or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, MappingNode) else last)


def _replacement(base: MappingNode, old_key: Node, old: Node, value: Node, text: str, recipe: str,
                 dotted: str) -> _Splice:
    """Put the recipe's value where the old one stands; a comment behind it keeps its column where there is room."""
    start, end = int(old.start_mark.index), _end(old)
    if start == end:  # no value at all: its mark lies at the next token
        start = end = int(old_key.end_mark.index) + 1
    elif not text[:start].rpartition("\n")[2].strip():
        column = max(int(old.start_mark.column), int(old_key.start_mark.column) + 2)  # a list may begin below its key
        indent = " " * (column - int(old.start_mark.column))
        return _Splice(start, end, indent + _render(value, recipe, column), dotted)
    if _is_block(value) and not base.flow_style:
        pad = "\n" + " " * (int(old_key.start_mark.column) + 2)
        comment = text[end:].partition("\n")[0].strip()
        line_end = end + len(text[end:].partition("\n")[0])
        before = len(text[:start].rstrip(" "))
        new = (f"  {comment}" if comment else "") + pad + _render(value, recipe, len(pad) - 1)
        return _Splice(before, line_end, new, dotted)
    new = (" " if start == int(old_key.end_mark.index) + 1 else "") + _render(value, recipe, 0, flow=True)
    gap = len(text[end:]) - len(text[end:].lstrip(" "))
    if text[end + gap : end + gap + 1] == "#":
        new += " " * max(2, end - start + gap - len(new))
        end += gap
    return _Splice(start, end, new, dotted)


def _addition(base: MappingNode, added: Sequence[tuple[Node, Node]], text: str, recipe: str, prefix: str) -> _Splice:
    """Put new entries behind the mapping's last one, and behind the comment on that line."""
    names = ", ".join(f"{prefix}{key.value}" for key, _ in added)
    if base.flow_style:
        end = int(base.end_mark.index) - 1
        inline = ", ".join(_entry(key, value, recipe, 0, flow=True) for key, value in added)
        return _Splice(end, end, (", " if base.value else "") + inline, names)
    line_end = text.find("\n", _end(base))
    at = line_end if line_end >= 0 else len(text)
    column = int(base.value[0][0].start_mark.column) if base.value else 0
    pad = "\n" + " " * column
    return _Splice(at, at, "".join(pad + _entry(key, value, recipe, column) for key, value in added), names)


def _is_block(node: Node) -> bool:
    return isinstance(node, CollectionNode) and not node.flow_style


def _entry(key: Node, value: Node, recipe: str, column: int, flow: bool = False) -> str:
    """`key: value`, further lines indented below the column."""
    name = recipe[key.start_mark.index : key.end_mark.index]
    if _is_block(value) and not flow:
        pad = "\n" + " " * (column + 2)
        return f"{name}:{pad}{_render(value, recipe, column + 2)}"
    return f"{name}: {_render(value, recipe, column, flow)}"


def _render(node: Node, recipe: str, column: int, flow: bool = False) -> str:
    """A node in the recipe's own words: as a block whose further lines begin at the column, or on one line (`flow`)."""
    if not _is_block(node):
        return recipe[node.start_mark.index : node.end_mark.index]
    pad = "\n" + " " * column
    if isinstance(node, SequenceNode):
        if flow:
            return f"[{', '.join(_render(item, recipe, 0, flow) for item in node.value)}]"
        return pad.join(f"- {_render(item, recipe, column + 2)}" for item in node.value)
    if flow:
        return f"{{{', '.join(_entry(key, value, recipe, 0, flow) for key, value in node.value)}}}"
    return pad.join(_entry(key, value, recipe, column) for key, value in node.value)
