"""A difference between two results as lines for a terminal: what is equal in one word, what differs in full."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.lineage.diff_changes import Changes
from pipeline.lineage.diff_labels import LabelDifference
from pipeline.lineage.diff_scores import ScoreDifference
from pipeline.metrics.bootstrap import Estimate

#: Files named of one kind of change; the JSON has all.
_MOST = 8


def text(first: str, second: str, data: Mapping[str, Changes], labels: LabelDifference | None,
         code: Mapping[str, Changes], params: Mapping[str, tuple[Any, Any]],
         environment: Mapping[str, tuple[Any, Any, tuple[str, ...]]], scores: ScoreDifference | None,
         missing: Sequence[str]) -> str:
    """All sections, in the order in which a result is made; see `pipeline.lineage.diff.Difference`."""
    lines = [f"A  {first}", f"B  {second}", "", "data"]
    for name, changes in data.items():
        lines += _changes(name, changes)
    lines += _labels(labels) if labels else []
    lines += ["code"]
    for name, changes in code.items():
        lines += _changes(name, changes)
    lines += ["params" if params else "params   equal"]
    lines += [f"  {key}: {_value(old)} -> {_value(new)}" for key, (old, new) in params.items()]
    lines += ["environment" if environment else "environment   equal"]
    lines += [f"  {key}: {_value(old)} -> {_value(new)}  ({', '.join(stages)})"
              for key, (old, new, stages) in environment.items()]
    lines += _scores(scores) if scores else []
    lines += [f"not compared: {reason}" for reason in missing]
    return "\n".join(lines)


def _changes(name: str, changes: Changes) -> Iterator[str]:
    if not changes:
        yield f"  {name}   equal ({changes.equal})"
        return
    yield f"  {name}   {changes.equal} equal"
    for sign, names in (("-", changes.removed), ("+", changes.added), ("~", changes.changed)):
        yield from (f"    {sign} {file}" for file in names[:_MOST])
        if len(names) > _MOST:
            yield f"    {sign} and {len(names) - _MOST} more (--json has all)"


def _labels(found: LabelDifference) -> Iterator[str]:
    yield (f"  labels: {found.changed} geometries changed, {found.only_first} only in A, {found.only_second} only in "
           f"B, {found.equal} equal")
    rows = [[name, action, f"{old.rows} -> {new.rows}", f"{_hectares(old.after_m2 - old.before_m2)} -> "
             f"{_hectares(new.after_m2 - new.before_m2)}"] for (name, action), (old, new) in found.booked.items()]
    yield from _table(["class", "action", "rows", "change of area, ha"], rows)
    yield from _table(["class", "refined area, ha"],
                      [[name, f"{_hectares(old)} -> {_hectares(new)}"] for name, (old, new) in found.areas_m2.items()])


def _scores(found: ScoreDifference) -> Iterator[str]:
    if found.unpaired:
        yield f"scores   not paired: B against A: {found.unpaired}"
        yield from _table(["score", "A", "B"], [[name, _estimate(pair.first), _estimate(pair.second)]
                                                for name, pair in found.scores.items()])
        return
    yield f"scores   paired over {found.blocks} blocks of val, intervals of {found.confidence:.0%}"
    yield from _table(["score", "A", "B", "B - A"],
                      [[name, f"{pair.first.value:.3f}", f"{pair.second.value:.3f}",
                        _estimate(pair.difference, "+") if pair.difference else ""]
                       for name, pair in found.scores.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return ["    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)]


def _estimate(estimate: Estimate, sign: str = "") -> str:
    limits = "" if math.isnan(estimate.low) else f" [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
    return f"{estimate.value:{sign}.3f}{limits}" + (f" {estimate.gap}" if estimate.gap else "")


def _hectares(area_m2: float) -> str:
    return f"{area_m2 / 10_000:.2f}"


def _value(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
