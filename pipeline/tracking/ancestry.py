"""The statements of what a training started from, for models/run.json; nothing that decides a weight.

A statement is that of a start if it names the start's weights among the files it came from. It is looked for in the
weights' folder and those above it (where one that MLflow keeps has come along), and in the export of this repository.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking.names import STATEMENT_FILE
from pipeline.tracking.statement import Statement, read

if TYPE_CHECKING:
    from pipeline.training.warm_start import Start

#: Folders above a member's that may belong to its training: members, checkpoint, models.
_LEVELS = 3


def with_statements(record: Mapping[str, Any], starts: "Sequence[Start]", paths: Paths) -> dict[str, Any]:
    """The record with `warm_start.ancestry`: whole statements, nearest first; as it is without a start.

    Args:
        record: what models/run.json says: key, environment and, where there is a start, warm_start.
        starts: those of the members.
        paths: of the repository that trains.
    """
    if not starts:
        return dict(record)
    uri, entries = record["warm_start"].get("uri", ""), {}
    known: set[str] = set()
    for start in starts:
        if start.sha256 not in entries:
            found = find_statement(start.sha256, start.folder, paths)
            entries[start.sha256] = _entry(start.sha256, uri, start.run_key, found)
            known |= {ancestor.sha256 for ancestor in found.ancestry} if found else set()
    for start in starts:
        for earlier in start.ancestry[1:]:
            if earlier.sha256 not in known:
                entries.setdefault(earlier.sha256, _entry(earlier.sha256, "", "", None))
    return {**record, "warm_start": {**record["warm_start"], "ancestry": list(entries.values())}}


def find_statement(weights: str, folder: Path, paths: Paths) -> Statement | None:
    """The statement of an export that was made of these weights; None where there is none.

    Args:
        weights: sha256 of weights.safetensors.
        folder: where they lie.
        paths: of the repository.
    """
    for place in _places(folder.resolve(), paths):
        if not place.is_file():
            continue
        try:
            found = read(place)
        except IntegrityError:  # another version's or tool's file of that name is no statement of these weights
            continue
        if names_weights(found, weights):
            return found
    return None


def names_weights(statement: Statement, weights: str) -> bool:
    """Whether a statement has weights of this sha256 among what it came from."""
    return any(resource.sha256 == weights for resource in statement.of_kind("file"))


def _places(folder: Path, paths: Paths) -> Iterator[Path]:
    for place in (folder, *folder.parents[:_LEVELS]):
        yield from (place / STATEMENT_FILE, place / "export" / STATEMENT_FILE)
    yield from (paths.export / STATEMENT_FILE, Paths(paths.repository).export / STATEMENT_FILE)


def _entry(weights: str, uri: str, run_key: str, found: Statement | None) -> dict[str, Any]:
    return {"sha256": weights, "uri": uri, "run_key": run_key, "statement": dict(found.raw) if found else None}
