"""What the boxes of a trace say: a name, and one line with the fact that tells most."""

from collections.abc import Mapping
from typing import Any

from pipeline.reporting.trace_checks import Checks
from pipeline.reporting.trace_graph import Cell, Drawing
from pipeline.reporting.trace_svg import Caption

#: Kinds as people read them: one, several.
KINDS: Mapping[str, tuple[str, str]] = {
    "file": ("file", "files"), "statement": ("statement", "statements"), "provenance": ("provenance", "provenances"),
    "run": ("run", "runs"), "model_version": ("model version", "model versions"), "stage": ("stage", "stages"),
    "artifact": ("data", "data"), "source": ("source", "sources"), "code": ("code file", "code files"),
    "params": ("settings", "settings"), "lock": ("libraries", "libraries"),
    "environment": ("environment", "environments"), "unsealing": ("look at the test part", "looks at the test part"),
    "ancestor": ("start", "starts"),
}

#: Things of a group that its box names.
_NAMED = 8


def kind_words(kind: str, count: int = 1) -> str:
    """A kind as people read it."""
    return KINDS.get(kind, (kind, kind))[count != 1]


def captions(trace: Mapping[str, Any], drawing: Drawing, checks: Checks) -> dict[str, Caption]:
    """A caption for each cell; targets are e0, e1, ... in reading order."""
    nodes = {node["id"]: node for node in trace["nodes"]}
    return {name: _caption(cell, nodes, f"e{number}", checks.worst(cell.members))
            for number, (name, cell) in enumerate(drawing.cells.items())}


def _caption(cell: Cell, nodes: Mapping[str, Mapping[str, Any]], target: str, verdict: str) -> Caption:
    if cell.is_group:
        count = len(cell.members)
        label = f"{count} {kind_words(cell.kind, count)}"
        if cell.kind == "file":
            label = f"{count} other {kind_words('file', count)}"
        return Caption(label, _group_note(cell, nodes), label, target, verdict)
    node = nodes[cell.members[0]]
    facts: Mapping[str, str] = node["facts"]
    name = facts.get("name", "") if cell.kind == "run" else node["label"]
    label = "environment" if cell.kind == "environment" else name
    return Caption(label or node["label"], _note(cell, node), name or node["label"], target, verdict)


def _group_note(cell: Cell, nodes: Mapping[str, Mapping[str, Any]]) -> str:
    if cell.kind == "code":
        return cell.id.removeprefix("code of ").replace("stage:", "code of ")
    shown = ", ".join(nodes[member]["label"].rpartition("/")[2] for member in cell.members[:_NAMED])
    return shown + (" …" if len(cell.members) > _NAMED else "")


def _note(cell: Cell, node: Mapping[str, Any]) -> str:
    facts: Mapping[str, str] = node["facts"]
    word = kind_words(cell.kind)
    digest = facts.get("sha256", "")[:12]
    match cell.kind:
        case "file":
            told = [facts.get("kind", word), digest]
        case "stage":
            told = [word, facts.get("origin", "")]
        case "artifact":
            inside = len(cell.members) - 1
            told = [word, f"{inside} {kind_words('file', inside)}" if inside else "", (facts.get("md5") or digest)[:8]]
        case "source":
            told = [word, facts.get("licence", ""), digest[:8]]
        case "environment":
            told = [facts.get("device", ""), facts.get("cpu", "")]
        case "params":
            told = [f"{len(facts)} settings"]
        case "run":
            told = [word, facts.get("status", ""), facts.get("key", "")[:12]]
        case "statement":
            told = [word, facts.get("finished", "")[:10]]
        case "model_version":
            told = [word, facts.get("aliases", "")]
        case _:
            told = [word, digest]
    return " · ".join(part for part in told if part) or word
