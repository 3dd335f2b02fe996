"""The graph of a trace, folded to what fits a page and laid out on a grid: cells in rows, lines between them.

Rows go from the file down to its sources. Beside the file stand the records about it, beside a stage what it ran with,
at the bottom what several stages share. An edge that skips rows runs in a gutter on the left, one lane for each end.

Takes the plain data of `kumulus trace --json`. Units: columns and rows of the grid, counted from 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Cells in a row, at most.
COLUMNS = 4

_RECORDS = ("statement", "provenance", "run", "model_version", "unsealing")
_SIDE = ("environment", "code", "params", "lock")
#: More leaves of one kind under the same cell than this become one cell.
_FOLD_ABOVE: Mapping[str, int] = {"file": 1, "source": 4, "ancestor": 2, "unsealing": 1, "model_version": 2}


@dataclass(frozen=True)
class Cell:
    """A box of the drawing: a node with what is folded into it, or several nodes of one kind."""

    id: str
    kind: str
    #: The nodes it stands for; for an artifact itself and then its files.
    members: tuple[str, ...]
    #: True where no single node carries the name: code of a stage, many sources.
    is_group: bool = False
    row: int = 0
    column: int = 0


@dataclass(frozen=True)
class Line:
    """An edge of the drawing; `lane` counts from the cells outwards, -1 for a line that needs none."""

    start: str
    end: str
    how: str
    #: down, side, left (through the gutter) or right (through a rail to what is shared).
    way: str
    lane: int = -1


@dataclass(frozen=True)
class Drawing:
    """Cells by id, in reading order, and lines between them."""

    cells: Mapping[str, Cell]
    lines: tuple[Line, ...]
    rows: int
    left_lanes: int
    right_lanes: int


Pair = tuple[str, str]


def draw_graph(trace: Mapping[str, Any]) -> Drawing:
    """Fold and place what lies behind the trace's root; nodes that the root does not lead to are left out."""
    cells, edges = _fold(trace)
    root = next(cell.id for cell in cells.values() if trace["root"] in cell.members)
    edges = _without_cycles(root, edges)
    reached = _levels(root, edges)
    edges = {pair: how for pair, how in edges.items() if pair[0] in reached}
    cells, edges = _fold_leaves({c: cells[c] for c in cells if c in reached}, edges, _parents(edges), root)
    levels = _levels(root, edges)
    cells = {name: cells[name] for name in sorted(cells, key=lambda name: levels[name])}
    roles = _roles(root, cells, _parents(edges))
    placed, rows = _place(root, cells, edges, roles)
    return _with_lines(placed, edges, roles, rows)


def _fold(trace: Mapping[str, Any]) -> tuple[dict[str, Cell], dict[Pair, str]]:
    """One cell a node, but files go into the artifact that holds them and code into one cell a stage."""
    kinds = {node["id"]: node["kind"] for node in trace["nodes"]}
    home = {edge["to"]: edge["from"] for edge in reversed(trace["edges"])
            if kinds.get(edge["to"]) == "file" and kinds.get(edge["from"]) == "artifact"
            and edge["to"] != trace["root"]}
    code: dict[str, list[str]] = {}
    for edge in trace["edges"]:
        if edge["to"].startswith("code:"):
            code.setdefault(edge["from"], []).append(edge["to"])
    inside: dict[str, list[str]] = {}
    for name in kinds:
        if name in home:
            inside.setdefault(home[name], []).append(name)
    cells = {name: Cell(name, kind, (name, *inside.get(name, ()))) for name, kind in kinds.items()
             if name not in home and not name.startswith("code:")}
    edges: dict[Pair, str] = {}
    for parent, files in code.items():
        group = f"code of {parent}"
        cells[group] = Cell(group, "code", tuple(files), is_group=True)
        edges[parent, group] = "runs"
    for edge in trace["edges"]:
        start, end = edge["from"], home.get(edge["to"], edge["to"])
        if start in cells and end in cells and start != end:
            edges.setdefault((start, end), edge["how"])
    return cells, edges


def _fold_leaves(cells: Mapping[str, Cell], edges: Mapping[Pair, str], parents: Mapping[str, Sequence[str]],
                 root: str) -> tuple[dict[str, Cell], dict[Pair, str]]:
    """Put many leaves of one kind under the same cells into one cell, in the place of the first."""
    starts = {start for start, _ in edges}
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, cell in cells.items():
        if name not in starts and name != root and cell.kind in _FOLD_ABOVE:
            alike.setdefault((cell.kind, tuple(sorted(parents.get(name, ())))), []).append(name)
    instead: dict[str, str] = {}
    groups: dict[str, Cell] = {}
    for (kind, above), names in alike.items():
        if len(names) > _FOLD_ABOVE[kind]:
            group = f"{kind} of {' '.join(above)}"
            groups[group] = Cell(group, kind, tuple(m for name in names for m in cells[name].members), is_group=True)
            instead |= dict.fromkeys(names, group)
    folded = {instead.get(name, name): groups.get(instead.get(name, ""), cell) for name, cell in cells.items()}
    return folded, {(start, instead.get(end, end)): how for (start, end), how in edges.items()}


def _parents(edges: Iterable[Pair]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for start, end in edges:
        found.setdefault(end, []).append(start)
    return found


def _without_cycles(root: str, edges: Mapping[Pair, str]) -> dict[Pair, str]:
    """The edges but those that lead back to a cell on the way from the root."""
    after: dict[str, list[str]] = {}
    for start, end in edges:
        after.setdefault(start, []).append(end)
    back: set[Pair] = set()
    done: set[str] = set()
    way: dict[str, None] = {root: None}
    work = [(root, iter(after.get(root, ())))]
    while work:
        here, ends = work[-1]
        end = next(ends, "")
        if not end:
            work.pop()
            way.pop(here)
            done.add(here)
        elif end in way:
            back.add((here, end))
        elif end not in done:
            way[end] = None
            work.append((end, iter(after.get(end, ()))))
    return {pair: how for pair, how in edges.items() if pair not in back}


def _levels(root: str, edges: Iterable[Pair]) -> dict[str, int]:
    """{cell: length of the longest way from the root}, for cells that it leads to; `edges` have no cycle."""
    after: dict[str, list[str]] = {}
    for start, end in edges:
        after.setdefault(start, []).append(end)
    reached, work = {root}, [root]
    while work:
        for end in after.get(work.pop(), ()):
            if end not in reached:
                reached.add(end)
                work.append(end)
    waiting = dict.fromkeys(reached, 0)
    for start in reached:
        for end in after.get(start, ()):
            waiting[end] += 1
    levels, ready = {root: 0}, [root]
    while ready:
        start = ready.pop(0)
        for end in after.get(start, ()):
            levels[end] = max(levels.get(end, 0), levels[start] + 1)
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)
    return levels


def _roles(root: str, cells: Mapping[str, Cell], parents: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """record, side, shared or spine, for each cell; `cells` have parents before what they lead to."""
    roles: dict[str, str] = {}
    for name, cell in cells.items():
        above = {roles[parent] for parent in parents.get(name, ())}
        if name == root:
            roles[name] = "spine"
        elif cell.kind in _RECORDS or (cell.kind == "file" and above == {"record"}):
            roles[name] = "record"
        elif cell.kind in _SIDE:
            roles[name] = "shared" if len(parents[name]) > 1 else "side"
        else:
            roles[name] = "spine"
    return roles


def _place(root: str, cells: Mapping[str, Cell], edges: Mapping[Pair, str],
           roles: Mapping[str, str]) -> tuple[dict[str, Cell], int]:
    """The cells with their rows and columns, in reading order, and the number of rows."""
    placed: dict[str, tuple[int, int]] = {root: (0, 0)}

    def by_level(role: str, levels: Mapping[str, int]) -> list[list[str]]:
        """The cells of a role on each level below the root."""
        found: list[list[str]] = [[] for _ in range(max(levels.values()))]
        for name in cells:
            if roles[name] == role and levels.get(name):
                found[levels[name] - 1].append(name)
        return found

    def fill(names: Iterable[str], row: int, column: int, first: int) -> int:
        """Place cells side by side, `first` being the column that a further row starts with; the next free row."""
        for name in names:
            if column == COLUMNS:
                row, column = row + 1, first
            placed[name] = (row, column)
            column += 1
        return row + 1

    sides: dict[str, list[str]] = {name: [] for name in cells}
    for start, end in edges:
        if roles[end] == "side":
            sides[start].append(end)
    records = _levels(root, [(a, b) for a, b in edges if roles[b] == "record"])
    row = 0
    for level, named in enumerate(by_level("record", records), 1):
        row = fill([*named, *(sides[root] if level == 1 else ()), *(s for n in named for s in sides[n])], row, 1, 1)
    if not row:
        row = fill(sides[root], 0, 1, 1)
    layers = _levels(root, [(a, b) for a, b in edges if roles[a] == roles[b] == "spine"])
    for members in by_level("spine", layers):
        row = fill((cell for name in members for cell in (name, *sides[name])), row, 0, 0)
    rest = [name for name in cells if name not in placed]  # shared, and what hangs on it
    row = fill(rest, row, 1, 1) if rest else row
    order = sorted(placed, key=lambda name: placed[name])
    return {name: Cell(name, cells[name].kind, cells[name].members, cells[name].is_group, *placed[name])
            for name in order}, row


def _with_lines(cells: dict[str, Cell], edges: Mapping[Pair, str], roles: Mapping[str, str], rows: int) -> Drawing:
    """Give each edge a way, and lanes to those that need one: a lane for each end, or each set of ends shared."""
    taken = {(cell.row, cell.column) for cell in cells.values()}
    ways: dict[Pair, str] = {}
    for start, end in edges:
        above, below = cells[start], cells[end]
        free = above.column == below.column and above.row < below.row and not any(
            (row, above.column) in taken for row in range(above.row + 1, below.row))
        if roles[end] == "shared":
            ways[start, end] = "right"
        elif above.row == below.row and above.column < below.column:
            ways[start, end] = "side"
        else:
            ways[start, end] = "down" if free or below.row == above.row + 1 else "left"
    left = _lanes(_parents(pair for pair in ways if ways[pair] == "left"), cells)
    # What the same stages share comes down one rail.
    rails: dict[tuple[str, ...], str] = {}
    shared = {end: tuple(starts) for end, starts in _parents(p for p in ways if ways[p] == "right").items()}
    for end, starts in shared.items():
        rails.setdefault(starts, end)
    right = _lanes({rails[starts]: list(starts) for starts in rails}, cells)
    lines = tuple(Line(start, end, how, way := ways[start, end],
                       left[end] if way == "left" else right[rails[shared[end]]] if way == "right" else -1)
                  for (start, end), how in edges.items())
    return Drawing(cells, lines, rows, max(left.values(), default=-1) + 1, max(right.values(), default=-1) + 1)


def _lanes(starts: Mapping[str, Sequence[str]], cells: Mapping[str, Cell]) -> dict[str, int]:
    """{end: lane}: short ways lie inside long ones, and ways that do not meet share a lane."""
    spans = {end: (min(cells[s].row for s in above), cells[end].row) for end, above in starts.items() if above}
    lanes: dict[str, int] = {}
    for end, (first, last) in sorted(spans.items(), key=lambda item: (item[1][1] - item[1][0], item[1])):
        used = {lanes[other] for other in lanes if spans[other][0] <= last and first <= spans[other][1]}
        lanes[end] = next(lane for lane in range(len(lanes) + 1) if lane not in used)
    return lanes
