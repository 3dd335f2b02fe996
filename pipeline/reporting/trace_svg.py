"""The drawing of a trace as SVG: boxes with two lines of text, lines with arrows, a mark for each verdict.

Colours are classes that the page's style sheet fills in, so the same drawing serves light, dark and paper; a verdict is
also a shape, a kind of border and a word. Lengths in px.
"""

import html
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.reporting.trace_graph import COLUMNS, Cell, Drawing, Line

CELL_WIDTH, CELL_HEIGHT = 236, 54
_COLUMN_GAP, _ROW_GAP = 22, 32
_LANE, _MARGIN = 13, 12
_ROUND = 8

#: Sizes of the two lines of text; the style sheet says the same.
_LABEL_SIZE, _NOTE_SIZE = 13, 11.5

#: Where text starts in a box, and what stays free after it: without a mark, with one.
_INSET, _FREE = 19, (9, 32)

#: Widths of bold characters as shares of the font's size: no less than those of the usual fonts of a user interface.
_NARROW, _SLIM = "ijl.,:;'|!", "frt()[]/- _"

#: Marks of verdicts on a 16 px square.
_MARKS: Mapping[str, str] = {
    "verified": '<circle cx="8" cy="8" r="8"/><path d="M4.2 8.3l2.7 2.7 5-5.6"/>',
    "moved_on": '<circle cx="8" cy="8" r="8"/><path d="M4 8h7.4M8.4 4.8L11.6 8l-3.2 3.2"/>',
    "absent": '<circle class="hollow" cx="8" cy="8" r="7.2"/>'
              '<path d="M6 6.2a2 2 0 1 1 2.6 1.9c-.5.2-.6.5-.6 1.2M8 11.4v.9"/>',
    "contradicted": '<path class="plate" d="M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7z"/>'
                    '<path d="M5 5l6 6M11 5l-6 6"/>',
}

#: Verdicts as people read them.
WORDS: Mapping[str, str] = {"verified": "verified", "moved_on": "moved on", "absent": "not here",
                            "contradicted": "contradicted", "": "not checked"}


@dataclass(frozen=True)
class Caption:
    """What a box says, what it is called elsewhere on the page, where it leads, and what was found of it."""

    label: str
    note: str
    #: Its whole name, where the label is only clear beside others.
    name: str
    #: Identifier of the element of the page that has the details.
    target: str
    #: verified, moved_on, absent, contradicted; "" where nothing was checked.
    verdict: str = ""


def text(value: object) -> str:
    """A value as HTML: markup is escaped, and characters that hide or turn text around are spelled out."""
    seen = "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else c
                   for c in str(value))
    return html.escape(seen, quote=True)


def mark(verdict: str, size: int = 16) -> str:
    """The mark of a verdict as an SVG of its own; "" where nothing was checked."""
    if verdict not in _MARKS:
        return ""
    return (f'<svg class="mark {verdict}" width="{size}" height="{size}" viewBox="0 0 16 16" aria-hidden="true">'
            f"{_MARKS[verdict]}</svg>")


def shortened(value: str, ems: float, keep_end: bool) -> str:
    """A text that fits `ems` times the font's size; of names the end stays, since files are told apart by it."""
    if _ems(value) <= ems:
        return value
    head = _fitting(value, ems / 3 if keep_end else ems - 1)
    tail = _fitting(value[:len(head) - len(value) - 1:-1], ems - 1 - _ems(head))[::-1] if keep_end else ""
    return f"{head}…{tail}"


def _fitting(value: str, ems: float) -> str:
    """The longest beginning that is no wider."""
    taken = 0.0
    for number, character in enumerate(value):
        taken += _ems(character)
        if taken > ems:
            return value[:number]
    return value


def _ems(value: str) -> float:
    return sum(1.05 if unicodedata.east_asian_width(c) in "WF" else 0.36 if c in _NARROW else 0.48 if c in _SLIM
               else 0.95 if c in "mwMW" else 0.74 if c.isupper() else 0.64 for c in value)


def render(drawing: Drawing, captions: Mapping[str, Caption], title: str) -> str:
    """The SVG; boxes are links to the details, so it can be read and walked without script."""
    left = _MARGIN + drawing.left_lanes * _LANE + (_LANE if drawing.left_lanes else 0)
    width = left + COLUMNS * CELL_WIDTH + (COLUMNS - 1) * _COLUMN_GAP + (drawing.right_lanes + 1) * _LANE + _MARGIN
    height = 2 * _MARGIN + drawing.rows * CELL_HEIGHT + (drawing.rows - 1) * _ROW_GAP
    pen = _Pen(left, width)
    lines = sorted(drawing.lines, key=lambda line: -line.lane)
    parts = [
        f'<svg id="graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="group" aria-label="{text(title)}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 .8L7.4 4 0 7.2z"/></marker></defs>',
        *(pen.line(line, drawing.cells, captions) for line in lines),
        *(pen.box(cell, captions[name]) for name, cell in drawing.cells.items()),
        "</svg>",
    ]
    return "\n".join(parts)


@dataclass(frozen=True)
class _Pen:
    """Knows where the grid's cells lie on the drawing."""

    left: float
    width: float

    def corner(self, cell: Cell) -> tuple[float, float]:
        return (self.left + cell.column * (CELL_WIDTH + _COLUMN_GAP), _MARGIN + cell.row * (CELL_HEIGHT + _ROW_GAP))

    def box(self, cell: Cell, caption: Caption) -> str:
        x, y = self.corner(cell)
        found = f"; {WORDS.get(caption.verdict, caption.verdict)}" if caption.verdict else ""
        said = f"{caption.name}: {caption.note}{found}"
        room = CELL_WIDTH - _INSET - _FREE[bool(caption.verdict)]
        label = shortened(caption.label, room / _LABEL_SIZE, keep_end=True)
        note = shortened(caption.note, room / _NOTE_SIZE / 0.92, keep_end=False)  # not bold, so narrower
        size = f'width="{CELL_WIDTH}" height="{CELL_HEIGHT}"'
        stack = f'<rect class="stack" x="4" y="4" {size} rx="7"/>' if cell.is_group else ""
        ring = f'<rect class="ring" x="-5" y="-5" width="{CELL_WIDTH + 10}" height="{CELL_HEIGHT + 10}" rx="11"/>'
        badge = mark(caption.verdict).replace("<svg ", f'<svg x="{CELL_WIDTH - 26}" y="{CELL_HEIGHT / 2 - 8:g}" ', 1)
        return (
            f'<a class="cell {text(cell.kind)} {text(caption.verdict)}" href="#{caption.target}" '
            f'data-cell="{text(cell.id)}" aria-label="{text(said)}"><title>{text(said)}</title>'
            f'<svg x="{x:g}" y="{y:g}" {size} overflow="visible">{ring}{stack}<rect class="body" {size} rx="7"/>'
            f'<rect class="stripe" x="6" y="9" width="4" height="{CELL_HEIGHT - 18}" rx="2"/>'
            f'<svg width="{_INSET + room + 4}" height="{CELL_HEIGHT}">'
            f'<text class="label" x="{_INSET}" y="23">{text(label)}</text>'
            f'<text class="note" x="{_INSET}" y="41">{text(note)}</text></svg>{badge}</svg></a>')

    def line(self, line: Line, cells: Mapping[str, Cell], captions: Mapping[str, Caption]) -> str:
        start, end = cells[line.start], cells[line.end]
        said = f"{captions[line.start].name} {line.how} {captions[line.end].name}"
        return (f'<path class="line" data-start="{text(line.start)}" data-end="{text(line.end)}" '
                f'd="{_path(self._points(line, start, end))}" marker-end="url(#tip)"><title>{text(said)}</title>'
                "</path>")

    def _points(self, line: Line, start: Cell, end: Cell) -> list[tuple[float, float]]:
        (x, y), (to_x, to_y) = self.corner(start), self.corner(end)
        middle, to_middle = x + CELL_WIDTH / 2, to_x + CELL_WIDTH / 2
        half, to_half = y + CELL_HEIGHT / 2, to_y + CELL_HEIGHT / 2
        above_end, below_start = to_y - _ROW_GAP / 2, y + CELL_HEIGHT + _ROW_GAP / 2
        if line.way == "side":
            return [(x + CELL_WIDTH, half), (to_x, to_half)]
        if line.way == "down":
            if start.column == end.column:
                return [(middle, y + CELL_HEIGHT), (middle, to_y)]
            return [(middle, y + CELL_HEIGHT), (middle, below_start), (to_middle, below_start), (to_middle, to_y)]
        if line.way == "right":
            rail = self.width - _MARGIN - (line.lane + 0.5) * _LANE
            return [(x + CELL_WIDTH, half), (rail, half), (rail, above_end), (to_middle, above_end), (to_middle, to_y)]
        lane = self.left - (line.lane + 1.5) * _LANE
        out = [(x, half)] if start.column == 0 else [(middle, y + CELL_HEIGHT), (middle, below_start)]
        into = [(to_x, to_half)] if end.column == 0 else [(to_middle, above_end), (to_middle, to_y)]
        return [*out, (lane, out[-1][1]), (lane, into[0][1]), *into]


def _path(points: list[tuple[float, float]]) -> str:
    """Straight runs with rounded corners."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        arriving, leaving = _towards(here, before), _towards(here, after)
        parts.append(f"L{arriving[0]:g} {arriving[1]:g}Q{here[0]:g} {here[1]:g} {leaving[0]:g} {leaving[1]:g}")
    return "".join([*parts, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _towards(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The point at most `_ROUND` from the corner on the way to `other`, half of that way at most."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = (dx * dx + dy * dy) ** 0.5
    share = min(_ROUND / length, 0.5) if length else 0
    return (corner[0] + dx * share, corner[1] + dy * share)
