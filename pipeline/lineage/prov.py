"""A trace as W3C PROV, written as PROV-JSON by the library `prov`, which reads it back.

Files, artifacts, code, sources and records are entities, stages activities, machines with their libraries agents.
PROV-DM: https://www.w3.org/TR/prov-dm/, PROV-JSON: https://www.w3.org/submissions/prov-json/
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from pipeline.lineage.tree import Node, Trace

#: What names of nodes and their facts begin with.
NAMESPACE = "urn:kumulus:"
_PREFIX = "kumulus"

_ACTIVITIES, _AGENTS = ("stage",), ("environment",)
_COLLECTIONS = ("artifact", "statement")


def to_prov(trace: Trace) -> str:
    """The trace as PROV-JSON; equal traces give equal text."""
    text: str = document(trace).serialize(format="json", indent=1, sort_keys=True)
    return text


def document(trace: Trace) -> Any:
    """The trace as a prov.model.ProvDocument."""
    from prov.model import ProvDocument

    made = ProvDocument()
    made.add_namespace(_PREFIX, NAMESPACE)
    for node in trace.nodes:
        attributes = _attributes(node)
        if node.kind in _ACTIVITIES:
            made.activity(_name(node.id), other_attributes=attributes)
        elif node.kind in _AGENTS:
            made.agent(_name(node.id), {"prov:type": "prov:SoftwareAgent", **attributes})
        elif node.kind in _COLLECTIONS:
            made.collection(_name(node.id), attributes)
        else:
            made.entity(_name(node.id), attributes)
    relations = _relations(made)
    for start, end, how in trace.edges:
        relations.get(how, made.influence)(_name(start), _name(end))
    return made


def _relations(made: Any) -> dict[str, Callable[[str, str], Any]]:
    """What an edge is in PROV; any other is an influence, of which PROV's relations are kinds."""
    return {
        "made by": lambda result, stage: made.generation(result, stage) if "stage" in stage
        else made.derivation(result, stage),
        "made from": made.derivation,
        "has the bytes of": made.derivation,
        "reads": made.usage,
        "runs": made.usage,
        "fetched": made.usage,
        "started from": made.usage,
        "ran on": made.association,
        "holds": made.membership,
        "names": made.membership,
        "named by": lambda file, statement: made.membership(statement, file),
        "registered as": lambda run, version: made.influence(version, run),
        "is": made.specialization,
    }


def _name(node_id: str) -> str:
    """`stage:train` -> `kumulus:stage/train`; what a local name cannot hold is percent-encoded."""
    return f"{_PREFIX}:{quote(node_id.replace(':', '/', 1), safe='/.-_')}"


def _attributes(node: Node) -> dict[Any, Any]:
    facts = {f"{_PREFIX}:{quote(key.replace(' ', '_'), safe='._-')}": value for key, value in node.facts.items()}
    return {"prov:label": node.label, f"{_PREFIX}:kind": node.kind, **facts}
