"""The part of the page below the graph: every node with all its facts, its neighbours and what was found of it.

Entries stand in the graph's order, and long lists are folded, so the page can be read, searched and printed without
script; the graph's boxes link to them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.reporting.trace_captions import kind_words
from pipeline.reporting.trace_checks import Checks
from pipeline.reporting.trace_graph import Cell, Drawing
from pipeline.reporting.trace_svg import WORDS, Caption, mark, text

#: Facts that are digests, shown so that one click selects them whole.
_DIGESTS = ("sha256", "md5", "git blob", "provenance", "commit", "result", "key", "run key", "MLflow run")

#: More facts than this are folded.
_FACTS = 12

_SECTIONS: Mapping[str, str] = {
    **dict.fromkeys(("file", "statement", "provenance", "run", "model_version", "unsealing"),
                    "The file and its records"),
    **dict.fromkeys(("params", "lock"), "Settings and libraries"), "source": "Sources",
}


class Ledger:
    """Details of all nodes; `anchors` says where on the page a node has its own."""

    def __init__(self, trace: Mapping[str, Any], drawing: Drawing, said: Mapping[str, Caption],
                 checks: Checks) -> None:
        self._nodes: dict[str, Mapping[str, Any]] = {node["id"]: node for node in trace["nodes"]}
        self._drawing, self._said, self._checks = drawing, said, checks
        self.anchors: dict[str, str] = {}
        for name, cell in drawing.cells.items():
            for number, member in enumerate(cell.members):
                own = number == 0 and not cell.is_group
                self.anchors.setdefault(member, said[name].target if own else f"{said[name].target}-{number}")

    def html(self) -> str:
        """All entries under their headings."""
        parts, heading = [], ""
        for name, cell in self._drawing.cells.items():
            section = _SECTIONS.get(cell.kind, "How it was made")
            if name == "pipeline":
                section = "Settings and libraries"
            if section != heading:
                parts.append(f"<h2>{section}</h2>")
                heading = section
            parts.append(self._entry(cell))
        drawn = {member for cell in self._drawing.cells.values() for member in cell.members}
        rest = [name for name in self._nodes if name not in drawn]
        if rest:
            parts += ["<h2>Of the same build, but not behind this file</h2>", '<article class="entry">',
                      self._table(f"{len(rest)} things", rest, {}), "</article>"]
        if others := self._checks.elsewhere(self._nodes):
            parts += ["<h2>Also looked at</h2>", '<article class="entry">', self._links(others, named=True),
                      "</article>"]
        return f'<section id="ledger" aria-label="Details of everything">{"".join(parts)}</section>'

    def _entry(self, cell: Cell) -> str:
        caption = self._said[cell.id]
        count = len(cell.members) - (not cell.is_group)
        kind = kind_words(cell.kind) if not cell.is_group else caption.note if cell.kind == "code" else "several"
        parts = [
            f'<article class="entry {text(cell.kind)}" id="{caption.target}" data-kind="{text(cell.kind)}" '
            f'data-verdict="{text(caption.verdict)}" tabindex="-1">',
            f"<h3>{mark(caption.verdict)} {text(caption.name)} <small>{text(kind)}"
            f"{', ' + WORDS.get(caption.verdict, caption.verdict) if caption.verdict else ''}</small></h3>",
            self._neighbours(cell),
        ]
        if not cell.is_group:
            parts += [_facts(self._nodes[cell.members[0]]["facts"]), self._links(self._checks.about(cell.members[0]))]
        inside = cell.members if cell.is_group else cell.members[1:]
        if inside:
            what = kind_words("file" if cell.kind == "artifact" else cell.kind, count)
            anchors = {member: self.anchors[member] for member in inside
                       if self.anchors[member].startswith(f"{caption.target}-")}
            parts.append(self._table(f"{count} {what}", inside, anchors))
        return "".join([*parts, "</article>"])

    def _neighbours(self, cell: Cell) -> str:
        """Links along the graph's edges, each way."""
        lines = self._drawing.lines
        ways = (("to", [(line.how, line.end) for line in lines if line.start == cell.id]),
                ("from", [(line.how, line.start) for line in lines if line.end == cell.id]))
        shown = []
        for way, pairs in ways:
            for how in dict.fromkeys(how for how, _ in pairs):
                names = ", ".join(f'<a href="#{self._said[other].target}">{text(self._said[other].name)}</a>'
                                  for kind, other in pairs if kind == how)
                shown.append(f"<li>{text(how)} {names}</li>" if way == "to"
                             else f'<li class="back">{names} {text(how)} this</li>')
        return f'<ul class="ways">{"".join(shown)}</ul>' if shown else ""

    def _table(self, title: str, names: Sequence[str], anchors: Mapping[str, str]) -> str:
        """A folded table of nodes, with those of their facts that fit columns."""
        keys = list(dict.fromkeys(key for name in names for key in self._nodes[name]["facts"]))[:5]
        checked = any(self._checks.about(name) for name in names)
        head = "".join(f'<th data-key="{text(key)}">{text(key)}</th>' for key in keys)
        rows = []
        for name in names:
            node, verdict = self._nodes[name], self._checks.worst([name])
            anchor = f' id="{anchors[name]}"' if name in anchors else ""
            found = (f'<td class="found">{mark(verdict, 13)} {text(WORDS.get(verdict, verdict))}{self._reasons(name)}'
                     "</td>" if checked else "")
            values = [(key, node["facts"].get(key, "")) for key in keys]
            cells = "".join(f'<td data-key="{text(key)}">{_value(key, value)}</td>' for key, value in values)
            rows.append(f'<tr{anchor} data-verdict="{text(verdict)}"><th scope="row">{text(node["label"])}</th>'
                        f"{found}{cells}</tr>")
        worst = self._checks.worst(names)
        note = f"{mark(worst, 13)} {text(WORDS.get(worst, worst))}" if checked else ""
        is_open = " open" if worst == "contradicted" else ""
        return (f"<details{is_open}><summary>{text(title)} {note}</summary><div class=\"scroll\"><table><thead><tr>"
                f"<th>name</th>{'<th>found</th>' if checked else ''}{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
                "</table></div></details>")

    def _reasons(self, name: str) -> str:
        """What is said of a row's links that are not simply verified."""
        return "".join(f"<div>{text(link.get('message', ''))}</div>" for link in self._checks.about(name)
                       if link["verdict"] != "verified" and link.get("message"))

    def _links(self, links: Iterable[Mapping[str, Any]], named: bool = False) -> str:
        """What was found of one node, place by place."""
        rows = []
        for link in links:
            digests = "".join(f"<dt>{key}</dt><dd>{_value('sha256', link[key])}</dd>" for key in ("expected", "found")
                              if link.get(key) and link["verdict"] != "verified")
            verdict = link["verdict"]
            parts = [link.get("name", "") if named else "", link.get("place", ""), link.get("message", "")]
            said = text(": ".join(part for part in parts if part)) + (f"<dl>{digests}</dl>" if digests else "")
            rows.append(f"<li>{mark(verdict, 13)} <b>{text(WORDS.get(verdict, verdict))}</b> {said}</li>")
        return f'<ul class="links">{"".join(rows)}</ul>' if rows else ""


def _facts(facts: Mapping[str, str]) -> str:
    entries = "".join(f"<div><dt>{text(key)}</dt><dd>{_value(key, value)}</dd></div>" for key, value in facts.items())
    if len(facts) > _FACTS:
        return f'<details><summary>{len(facts)} values</summary><dl class="facts">{entries}</dl></details>'
    return f'<dl class="facts">{entries}</dl>' if entries else ""


def _value(key: str, value: str) -> str:
    if key in _DIGESTS and value:
        return f'<code class="digest" title="{text(value)}">{text(value)}</code>'
    return text(value)
