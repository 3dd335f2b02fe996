"""What a verification found, by node: plain data of the links of `kumulus trace --verify`."""

from collections.abc import Iterable, Mapping
from typing import Any

#: What several nodes come to together: the first of these that any has.
ORDER = ("contradicted", "absent", "moved_on", "verified")

#: What one node's places come to: bytes found at one place need no other, unless one contradicts them.
_PLACES = ("contradicted", "verified", "absent", "moved_on")


class Checks:
    """The links of a report, found by the node they are about; empty where nothing was verified."""

    def __init__(self, report: Mapping[str, Any] | None) -> None:
        found = report or {}
        self.made = report is not None
        #: verified, unverifiable or contradicted.
        self.verdict = str(found.get("verdict", ""))
        self.links: list[Mapping[str, Any]] = list(found.get("links", ()))
        self.first_broken: Mapping[str, Any] | None = found.get("first_broken")
        self._by_node: dict[str, list[Mapping[str, Any]]] = {}
        for link in self.links:
            self._by_node.setdefault(str(link["node"]), []).append(link)

    def about(self, node: str) -> list[Mapping[str, Any]]:
        """The links about a node, in the report's order."""
        return self._by_node.get(node, [])

    def worst(self, nodes: Iterable[str]) -> str:
        """What is found of these nodes together; "" where nothing was checked."""
        each = {next(v for v in _PLACES if v in verdicts) for node in nodes
                if (verdicts := {link["verdict"] for link in self.about(node)})}
        return next((verdict for verdict in ORDER if verdict in each), "")

    def elsewhere(self, nodes: Iterable[str]) -> list[Mapping[str, Any]]:
        """Links about none of these nodes."""
        known = set(nodes)
        return [link for link in self.links if link["node"] not in known]
