"""One HTML page that shows a trace, and what a verification found: self-contained, without a single network request.

Takes the plain data of `kumulus trace --json`. The page is whole without its script, which folds, filters, walks by
keyboard and shows details beside the graph. Its content security policy lets only its own style and script through, by
their digests: what a hostile file name might smuggle in would not run.
"""

import base64
import hashlib
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.paths import staged_file
from pipeline.reporting.trace_captions import captions
from pipeline.reporting.trace_checks import ORDER, Checks
from pipeline.reporting.trace_graph import Drawing, draw_graph
from pipeline.reporting.trace_ledger import Ledger
from pipeline.reporting.trace_svg import WORDS, mark, render, text

#: What tells a page that was written here.
_MARK = '<meta name="generator" content="kumulus trace">'

#: What a verdict of all links together means, for the head of the page.
_MEANINGS: Mapping[str, str] = {
    "verified": "Every link that counts holds: the bytes are what the statement says.",
    "unverifiable": "Nothing contradicts the statement, but something it names is not here.",
    "contradicted": "A place that claims to hold what the statement names holds something else.",
}

#: Verdicts of all links together -> the mark of one.
_MARKS: Mapping[str, str] = {"unverifiable": "absent"}


def write_page(path: Path, found: Mapping[str, Any]) -> None:
    """Write the page of what a trace found; equal input gives equal bytes."""
    page = trace_page(found)
    with staged_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def trace_page(found: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        found: what `kumulus trace --json` prints. `root`, `nodes` (id, kind, label, facts), `edges` (from, to, how) and
            `missing` are the graph; `notes` say how the file was identified; where it was asked for, `verify` has a
            verdict, first_broken and links (node, name, place, verdict, expected, found, message, counts),
            `signature` and `replay` a verdict and a message.
    """
    checks, drawing = Checks(found.get("verify")), draw_graph(found)
    said = captions(found, drawing, checks)
    ledger = Ledger(found, drawing, said, checks)
    name = next(node["label"] for node in found["nodes"] if node["id"] == found["root"])
    style, script = _asset("trace_page.css"), _asset("trace_page.js")
    policy = (f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
              "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'")
    graph = render(drawing, said, f"From {name} back to its sources")
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        _MARK,
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',
        f"<title>{text(name)}: where it comes from</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        _head(found, name, checks, ledger),
        "<main>",
        _toolbar(drawing, checks),
        '<div class="board">',
        f'<div class="scroll" tabindex="-1">{graph}</div>',
        f'<aside id="panel" aria-label="Legend and details" tabindex="-1">{_legend(checks)}</aside>',
        "</div>",
        ledger.html(),
        "</main>",
        f"<script>{script}</script>",
        "</body>",
        "</html>",
        "",
    ])


def is_page(file: Path) -> bool:
    """Whether a file is a page that was written here, which another may replace.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return _MARK.encode() in stream.read(500)


def _head(found: Mapping[str, Any], name: str, checks: Checks, ledger: Ledger) -> str:
    lists = "".join(f'<section class="said"><h2>{title}</h2>{_list(found[key])}</section>' for title, key in
                    (("Not here, and would say more", "missing"), ("Notes", "notes")) if found.get(key))
    return "\n".join([
        "<header>",
        '<p class="eyebrow">Kumulus lineage</p>',
        f"<h1>Where <span>{text(name)}</span> comes from</h1>",
        _verify(checks, ledger),
        _check("Signature", found.get("signature")),
        _check("Replay", found.get("replay")),
        _glance(found),
        lists,
        "</header>",
    ])


def _banner(verdict: str, title: str, body: str) -> str:
    """A framed verdict: its mark, its word, what it means."""
    kind = _MARKS.get(verdict, verdict)
    return (f'<section class="verdict {text(kind)}"><p class="word">{mark(kind, 26)}<strong>{text(title)}</strong></p>'
            f"{body}</section>")


def _verify(checks: Checks, ledger: Ledger) -> str:
    if not checks.made:
        return ('<section class="verdict"><p><strong>Not verified.</strong> This page repeats what the statement says. '
                "<code>kumulus trace FILE --verify --html PAGE</code> rehashes every byte behind it.</p></section>")
    counted = Counter(link["verdict"] for link in checks.links)
    aside = sum(link["verdict"] == "absent" and not link.get("counts", True) for link in checks.links)
    counts = " ".join(f'<span class="count">{mark(kind, 13)} {counted[kind]} {WORDS[kind]}'
                      f"{f' ({aside} beside the way)' if kind == 'absent' and aside else ''}</span>"
                      for kind in ORDER if counted[kind])
    first = ""
    if checks.first_broken:
        link = checks.first_broken
        values = "".join(f"<dt>{key}</dt><dd><code>{text(link[key])}</code></dd>"
                         for key in ("place", "expected", "found") if link.get(key))
        shown = text(link.get("name") or link["node"])
        if target := ledger.anchors.get(link["node"]):
            shown = f'<a href="#{target}">{shown}</a>'
        first = (f'<div class="first"><h2>First broken link: {shown}</h2>'
                 f"<p>{text(link.get('message', ''))}</p><dl>{values}</dl></div>")
    return _banner(checks.verdict, checks.verdict.capitalize(),
                   f"<p>{text(_MEANINGS.get(checks.verdict, ''))}</p>{first}<p class=\"counts\">{counts}</p>")


def _check(title: str, found: Mapping[str, Any] | None) -> str:
    """A signature or a replay, with what it compared one by one where it differs."""
    if found is None:
        return ""
    word = "unverifiable" if found["verdict"] == "absent" else found["verdict"]
    differing = [one for one in found.get("compared", ()) if not one["equal"]]
    lines = [*found.get("notes", ()), *(f"differs here: {line}" for line in found.get("environment", ())),
             *(" ".join([f"{one['name']} differs", *(f"{key.replace('_', ' ')} {_measured(value)}"
                                                     for key, value in one["measured"].items()), one["note"]])
               for one in differing)]
    return _banner(word, f"{title}: {word}", f"<p>{text(found['message'])}</p>{_list(lines)}")


def _measured(value: float | None) -> str:
    """A number of a replay, which is None where it is infinite."""
    return "infinite" if value is None else f"{value:.4g}"


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>" if lines else ""


def _glance(found: Mapping[str, Any]) -> str:
    """The few facts that people ask for first."""
    nodes = {node["id"]: node for node in found["nodes"]}
    kinds = Counter(node["kind"] for node in found["nodes"])
    own, statement = nodes[found["root"]]["facts"], nodes.get("statement", {}).get("facts", {})
    run = nodes.get("run", {}).get("facts", {})
    commit = " ".join(value for value in (statement.get("commit"), statement.get("tree")) if value)
    entries = {
        "sha256": own.get("sha256", ""),
        "provenance": own.get("provenance") or statement.get("provenance", ""),
        "finished": statement.get("finished", ""),
        "commit": commit,
        "run": " ".join(value for value in (run.get("name"), run.get("key")) if value),
        "model": ", ".join(node["label"] for node in found["nodes"] if node["kind"] == "model_version"),
        "made by": ", ".join(f"{kinds[kind]} {words if kinds[kind] != 1 else words.removesuffix('s')}"
                             for kind, words in (("stage", "stages"), ("artifact", "data artifacts"),
                                                 ("code", "code files"), ("source", "sources")) if kinds[kind]),
    }
    return ('<dl class="glance">' + "".join(f"<div><dt>{label}</dt><dd>{text(value)}</dd></div>"
                                            for label, value in entries.items() if value) + "</dl>")


def _toolbar(drawing: Drawing, checks: Checks) -> str:
    kinds = sorted({cell.kind for cell in drawing.cells.values()})
    options = "".join(f'<option value="{text(kind)}">{text(kind.replace("_", " "))}</option>' for kind in kinds)
    verdicts = "".join(f'<option value="{kind}">{WORDS[kind]}</option>'
                       for kind in ORDER if checks.made)
    by_verdict = ('<label>found <select id="of-verdict"><option value="">whatever</option>'
                  f"{verdicts}</select></label>" if verdicts else "")
    return textwrap.dedent(f"""\
        <form id="toolbar" role="search" hidden>
        <label class="find">find <input id="find" type="search" placeholder="name, digest, setting …" \
        autocomplete="off" spellcheck="false"></label>
        <label>kind <select id="of-kind"><option value="">all</option>{options}</select></label>
        {by_verdict}
        <button type="button" id="unfold" aria-pressed="false">unfold all</button>
        <output id="matches" for="find of-kind of-verdict"></output>
        <p class="keys"><kbd>/</kbd> find <kbd>Tab</kbd> <kbd>←↑↓→</kbd> walk <kbd>Enter</kbd> details \
        <kbd>Esc</kbd> close</p>
        </form>""")


def _legend(checks: Checks) -> str:
    marks = "".join(f'<li class="{kind}">{mark(kind)} <b>{WORDS[kind]}</b> {meaning}</li>' for kind, meaning in (
        ("verified", "bytes are what the statement says"),
        ("moved_on", "the workspace is about another build by now"),
        ("absent", "looked for and found nowhere"),
        ("contradicted", "a place claims to hold it and holds other bytes"))) if checks.made else ""
    return ('<div id="legend"><p>Arrows lead from a result to what it was made of. A box with another behind it stands '
            f'for several things. A box leads to its details.</p>{f"<ul>{marks}</ul>" if marks else ""}</div>')


def _asset(name: str) -> str:
    return (files("pipeline.reporting") / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    """How a content security policy names an inline style or script (CSP Level 3, section 6.7.3.3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


