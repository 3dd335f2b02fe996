"""A verification as text and as plain data: what came of it in a line, the first broken link, then the others."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline.lineage.verdicts import Link, Report, Verdict

#: Exit codes of `kumulus trace --verify` and `--replay`.
EXIT = {Verdict.VERIFIED: 0, Verdict.ABSENT: 3, Verdict.CONTRADICTED: 4}

#: How an exit code is called; 3 is what is absent for one link and unverifiable for the whole.
WORDS = {Verdict.VERIFIED: "verified", Verdict.ABSENT: "unverifiable", Verdict.CONTRADICTED: "contradicted"}

_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")

#: Links named one by one, of each verdict; --json has all.
_MOST = 5


def lines(report: Report) -> Iterator[str]:
    """The verification in lines, the first with the verdict."""
    count = Counter(link.verdict for link in report.links)
    yield (f"verify: {WORDS[report.verdict]}: {count[Verdict.VERIFIED]} links hold; {report.files} files, "
           f"{report.size / 1e6:.1f} MB rehashed")
    first = report.first_broken
    if first is not None:
        yield f"first broken link: {_shown(first)}"
    for verdict, word in ((Verdict.CONTRADICTED, "contradicted"), (Verdict.ABSENT, "absent"),
                          (Verdict.MOVED_ON, "moved on")):
        links = [link for link in report.of(verdict) if link is not first]
        for link in links[:_MOST]:
            yield f"{word}: {_shown(link)}"
        if len(links) > _MOST:
            yield f"{word}: {len(links) - _MOST} more (--json has all)"


def marks(report: Report) -> dict[str, str]:
    """{node: word} for the tree."""
    return {node: verdict.value.replace("_", " ") for node, verdict in report.node_verdicts().items()}


def to_json(report: Report) -> dict[str, Any]:
    """The verification as plain data."""
    first = report.first_broken
    return {"verdict": WORDS[report.verdict], "files": report.files, "bytes": report.size,
            "first_broken": _link(first) if first else None, "links": [_link(link) for link in report.links]}


def _link(link: Link) -> dict[str, Any]:
    return {"node": link.node, "name": link.name, "place": link.place, "verdict": link.verdict.value,
            "expected": link.expected, "found": link.found, "message": link.message, "counts": link.counts}


def _shown(link: Link) -> str:
    """A link in one line, digests cut to what tells them apart."""
    name = f"{link.name} ({link.place})" if link.place else link.name
    message = link.message.removeprefix(f"{link.name} ")
    return f"{name}: {_SHA256.sub(lambda digest: digest.group()[:12], message)}"
