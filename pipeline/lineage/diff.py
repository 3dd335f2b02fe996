"""`kumulus diff A B`: what differs between two results in data, labels, code, params, environment and scores.

All of it is read from the two statements and from files found by the digests these record; nothing is run, and nothing
is written. Whatever cannot be found is named among `missing`, and the rest is compared.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.lineage import diff_labels, diff_scores, diff_text
from pipeline.lineage.diff_changes import Changes, changes
from pipeline.lineage.finder import Finder
from pipeline.lineage.identify import Identified
from pipeline.paths import Paths
from pipeline.tracking.statement import Resource, Statement

#: Finds a file by what a statement records of it; None where no place has it.
Find = Callable[[Resource], Path | None]

LEDGER = "data/labels/ledger.parquet"
#: Holds the key of a training, which is its own.
RUN_FILE = "models/run.json"

#: Kinds of resources by the section that shows them.
_DATA, _CODE = ("source", "asset", "input", "file", "artifact", "model", "scene"), ("code", "lock", "pipeline")


@dataclass(frozen=True)
class Difference:
    """What differs between A and B; old values are A's, new ones B's, and differences of scores are B minus A."""

    first: str
    second: str
    #: "sources", "inputs", "data/raw", ... -> changed files.
    data: Mapping[str, Changes]
    #: None where a ledger could not be found, or both are the same file.
    labels: diff_labels.LabelDifference | None
    #: "code", "requirements.lock", "dvc.yaml".
    code: Mapping[str, Changes]
    #: Dotted key -> (old, new); None where one lacks it.
    params: Mapping[str, tuple[Any, Any]]
    #: Dotted key -> (old, new, the stages it concerns).
    environment: Mapping[str, tuple[Any, Any, tuple[str, ...]]]
    #: None where counts could not be found.
    scores: diff_scores.ScoreDifference | None
    #: One sentence each.
    missing: tuple[str, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether nothing that made the results differs."""
        return not (any(self.data.values()) or any(self.code.values()) or self.params or self.environment)

    def to_json(self) -> dict[str, Any]:
        """As plain data, in a stable order, without NaN."""
        return {
            "first": self.first,
            "second": self.second,
            "data": {name: changes.to_json() for name, changes in self.data.items()},
            "labels": self.labels.to_json() if self.labels else None,
            "code": {name: changes.to_json() for name, changes in self.code.items()},
            "params": {key: {"first": old, "second": new} for key, (old, new) in self.params.items()},
            "environment": {key: {"first": old, "second": new, "stages": list(stages)}
                            for key, (old, new, stages) in self.environment.items()},
            "scores": self.scores.to_json() if self.scores else None,
            "missing": list(self.missing),
        }

    def text(self) -> str:
        """As lines for a terminal."""
        return diff_text.text(self.first, self.second, self.data, self.labels, self.code, self.params, self.environment,
                              self.scores, self.missing)


def compare(a: Identified, b: Identified, paths: Paths) -> Difference:
    """Compare two results by their statements.

    Raises:
        IntegrityError: the statement of one of them is not here.
    """
    first, second = _statement(a), _statement(b)
    missing: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kumulus-diff-") as scratch:
        find = Finder(paths, Path(scratch)).resource
        labels = _labels(first, second, find, missing)
        scores = _scores(first, second, find, missing)
    return Difference(a.target, b.target, _data(first, second), labels, _code(first, second),
                      _dotted(first.params, second.params), _environment(first, second), scores, tuple(missing))


def _statement(identified: Identified) -> Statement:
    if identified.statement is None:
        raise IntegrityError(f"{identified.target} must have a statement to be compared: its lineage.json is not "
                             "here; put it beside the file, or run this in the project's repository")
    return identified.statement


def _data(first: Statement, second: Statement) -> dict[str, Changes]:
    """Sources and inputs by their names, artifacts file by file, single-file artifacts under "other"."""
    groups = {_group(r): None for s in (first, second) for r in s.of_kind(*_DATA) if _group(r)}
    return {group: changes(*({r.name: r.sha256 for r in s.of_kind(*_DATA) if _group(r) == group}
                             for s in (first, second))) for group in groups}


def _group(resource: Resource) -> str:
    """The heading a resource is compared under; "" for a folder, whose files are, and for a training's own key."""
    if resource.name == RUN_FILE:
        return ""
    match resource.kind:
        case "file":
            return resource.artifact
        case "artifact":
            return "" if resource.md5.endswith(".dir") else "other"
        case kind:
            return f"{kind}s"


def _code(first: Statement, second: Statement) -> dict[str, Changes]:
    found = {}
    for kind in _CODE:
        pair = [{r.name: r.git_blob or r.sha256 for r in s.of_kind(kind)} for s in (first, second)]
        name = "code" if kind == "code" else next(iter({**pair[0], **pair[1]}), "")
        if name:
            found[name] = changes(*pair)
    return found


def _dotted(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{dotted key: (old, new)} of plain values that differ; lists are compared whole, an absent key is as null."""
    old, new = dict(_leaves(first, "")), dict(_leaves(second, ""))
    return {key: (old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key)}


def _leaves(value: Any, where: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key, inner in value.items()
                for leaf in _leaves(inner, f"{where}.{key}" if where else str(key))]
    return [(where, value)]


def _environment(first: Statement, second: Statement) -> dict[str, tuple[Any, Any, tuple[str, ...]]]:
    """What differs in the machine or the libraries, said once for all stages that share it."""
    found: dict[str, list[tuple[Any, Any, list[str]]]] = {}
    for stage in [s for s in first.environments if s in second.environments]:
        for key, (old, new) in _dotted(first.environments[stage], second.environments[stage]).items():
            same = next((entry for entry in found.setdefault(key, []) if entry[:2] == (old, new)), None)
            if same is None:
                found[key].append((old, new, [stage]))
            else:
                same[2].append(stage)
    return {key if len(entries) == 1 else f"{key} ({stages[0]})": (old, new, tuple(stages))
            for key, entries in found.items() for old, new, stages in entries}


def _labels(first: Statement, second: Statement, find: Find,
            missing: list[str]) -> diff_labels.LabelDifference | None:
    found = _both(LEDGER, first, second, find, missing, "how labels differ")
    return diff_labels.compare_ledgers(*found) if found else None


def _scores(first: Statement, second: Statement, find: Find,
            missing: list[str]) -> diff_scores.ScoreDifference | None:
    pairs = {file: _both(name, first, second, find, missing, "how scores differ", equal_too=True)
             for file, name in diff_scores.SCORED.items()}
    if not all(pairs.values()):
        return None
    a, b = ({file: pair[i] for file, pair in pairs.items() if pair} for i in (0, 1))
    return diff_scores.compare_scores(a, b, first.params, second.params)


def _both(name: str, first: Statement, second: Statement, find: Find, missing: list[str],
          what: str, equal_too: bool = False) -> tuple[Path, Path] | None:
    """A file of both results; None where they are equal (unless asked for too), or one cannot be had."""
    resources = [next((r for r in s.of_kind("file") if r.name == name), None) for s in (first, second)]
    if resources[0] is None or resources[1] is None:
        missing.append(f"{what}: {'A' if resources[0] is None else 'B'}'s statement names no {name}")
        return None
    if resources[0].sha256 == resources[1].sha256 and not equal_too:
        return None
    found = find(resources[0]), find(resources[1])
    if found[0] is None or found[1] is None:
        side, lost = ("A", resources[0]) if found[0] is None else ("B", resources[1])
        missing.append(f"{what}: {side}'s {name} (md5 {lost.md5}) is neither in the workspace, DVC's cache nor its "
                       "remote; `dvc fetch` of the commit that has it brings it")
        return None
    return found[0], found[1]
