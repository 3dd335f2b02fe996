"""lineage.json, read: an in-toto Statement v1 whose predicate is SLSA provenance v1.

It names the finished files of an export or a prediction by sha256, and everything they came from by digest: sources,
DVC-tracked artifacts, code, params, locked libraries, the run, the machine of each stage, and the statements of what
the training started from. Imports no mlflow.

in-toto Statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
SLSA provenance: https://slsa.dev/spec/v1.0/provenance
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from pipeline.errors import IntegrityError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILDER = "urn:kumulus"

Kind = Literal["export", "prediction"]
#: What was built, by the statement's buildType.
BUILD_TYPES: Mapping[str, Kind] = MappingProxyType(
    {"urn:kumulus:export:1": "export", "urn:kumulus:prediction:1": "prediction"})

#: `annotations.kind` of what a build came from, in the order in which it is listed.
RESOURCE_KINDS = ("source", "asset", "input", "artifact", "file", "code", "lock", "pipeline", "model", "scene")

#: The format of versions before this one.
_OLD_FORMAT = "kumulus-lineage-1"


@dataclass(frozen=True)
class Resource:
    """Something that a build came from.

    A source is a raw file of data/raw by where it came from (`uri`), and an asset one answer of a network that it was
    made of, which is not kept. An input is acquire.inputs, the user's own folder or file, or a file in it (`artifact`
    is the folder then). An artifact is an out that DVC tracks (`md5` is its id there, with ".dir" for folders), a file
    one of those within it. Code, lock and pipeline (dvc.yaml) are files that git tracks (`git_blob` is their id).
    """

    name: str
    kind: str
    sha256: str
    md5: str = ""
    git_blob: str = ""
    uri: str = ""
    #: Stages whose code it is, or the one that made the artifact.
    stages: tuple[str, ...] = ()
    #: Of a file: the artifact (or input) that holds it.
    artifact: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Ancestor:
    """What a training started from, or what that had started from: weights by digest and, where found, a statement."""

    sha256: str
    uri: str = ""
    run_key: str = ""
    statement: "Statement | None" = None


@dataclass(frozen=True)
class Statement:
    """What lineage.json says. `provenance` is the digest of provenance.json, "" where a model had none."""

    kind: Kind
    provenance: str
    #: Finished file, relative to the folder of lineage.json -> sha256.
    subjects: Mapping[str, str]
    resources: tuple[Resource, ...]
    #: params.yaml with defaults filled in; how the scene was read and tiled, for a prediction.
    params: Mapping[str, Any]
    #: Stage -> device, CPU, threads, precision, world size, Python, libraries; without stages that left none.
    environments: Mapping[str, Mapping[str, Any]]
    #: Key of the training; "" where models/run.json was not there, and for a prediction.
    run_key: str
    #: models/run.json.
    run: Mapping[str, Any]
    #: HEAD when it was written; None outside of git.
    commit: str | None
    dirty: bool
    registered_model: str
    #: Lines of unseal.log.jsonl that are about this model, oldest first.
    unsealings: tuple[Mapping[str, Any], ...]
    #: What the training started from, nearest first, and so on back.
    ancestry: tuple[Ancestor, ...]
    #: UTC, ISO 8601.
    finished: str
    #: The JSON as it was read.
    raw: Mapping[str, Any]

    def of_kind(self, *kinds: str) -> tuple[Resource, ...]:
        """The resources of these kinds, in the statement's order."""
        return tuple(resource for resource in self.resources if resource.kind in kinds)


def read(path: Path) -> Statement:
    """The statement in a file.

    Raises:
        IntegrityError: there is no such file, or it is no statement of Kumulus.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} must be a lineage.json: not found; name another file") from error
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} must be a lineage.json, which is JSON: {error}; name another file") from error
    if not isinstance(raw, dict):
        raise IntegrityError(f"{path} must be a lineage.json, a JSON object: got {type(raw).__name__}; "
                             "name another file")
    try:
        return parse(raw)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error


def parse(raw: Mapping[str, Any]) -> Statement:
    """The statement in plain data.

    Raises:
        IntegrityError: it is of an older version, another kind of file, or lacks a part.
    """
    if raw.get("format") == _OLD_FORMAT:
        raise IntegrityError(f"a statement must be an in-toto Statement v1: got {_OLD_FORMAT} of an earlier version, "
                             "which cannot be checked; run `dvc repro --force --single-item export`")
    for key, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if raw.get(key) != wanted:
            raise IntegrityError(f"a statement must have {key} {wanted}: got {raw.get(key)!r}; name a lineage.json")
    definition, details = _part(raw, "predicate.buildDefinition"), _part(raw, "predicate.runDetails")
    build_type = str(definition.get("buildType"))
    if build_type not in BUILD_TYPES:
        raise IntegrityError(f"a statement must have a buildType of {list(BUILD_TYPES)}: got {build_type!r}; it is "
                             "another tool's, or a newer version's")
    own = _part(details, "metadata.kumulus")
    run, git = own.get("run") or {}, own.get("git") or {}
    internal = definition.get("internalParameters", {})
    try:
        return Statement(
            kind=BUILD_TYPES[build_type],
            provenance=_text(own, "provenance"),
            subjects={subject["name"]: subject["digest"]["sha256"] for subject in raw["subject"]},
            resources=tuple(_resource(entry) for entry in definition["resolvedDependencies"]),
            params=_part(definition, "externalParameters.params"),
            environments={stage: entry["environment"] for stage, entry in internal.get("stages", {}).items()},
            run_key=_text(run, "key"),
            run=run,
            commit=git.get("commit"),
            dirty=bool(git.get("dirty")),
            registered_model=_text(own, "registered_model"),
            unsealings=tuple(own.get("unsealings", ())),
            ancestry=tuple(_generations(own.get("ancestry", ()))),
            finished=_text(_part(details, "metadata"), "finishedOn"),
            raw=raw,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("a statement must be whole, as `kumulus` writes it: "
                             f"{type(error).__name__} {error}; take it from where it came anew") from error


def _resource(entry: Mapping[str, Any]) -> Resource:
    digest, notes = entry["digest"], entry["annotations"]
    stages = notes.get("stages") or ([notes["stage"]] if notes.get("stage") else [])
    return Resource(entry["name"], notes["kind"], digest["sha256"], digest.get("md5", ""), digest.get("gitBlob", ""),
                    entry.get("uri", ""), tuple(stages), notes.get("artifact", ""), notes.get("licence", ""))


def _generations(entries: Any) -> Iterator[Ancestor]:
    """The ancestors of one statement, then those of their statements; each generation nearer than the next."""
    found = [Ancestor(entry["sha256"], entry.get("uri", ""), entry.get("run_key", ""),
                      parse(entry["statement"]) if entry.get("statement") else None) for entry in entries]
    yield from found
    seen = {ancestor.sha256 for ancestor in found}
    for ancestor in found:
        for earlier in ancestor.statement.ancestry if ancestor.statement else ():
            if earlier.sha256 not in seen:
                seen.add(earlier.sha256)
                yield earlier


def _part(raw: Mapping[str, Any], dotted: str) -> Mapping[str, Any]:
    value: Any = raw
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        raise IntegrityError(f"a statement must have {dotted}, an object: got {type(value).__name__}; take it from "
                             "where it came anew")
    return cast("Mapping[str, Any]", value)


def _text(raw: Mapping[str, Any], key: str) -> str:
    """A text or the sha256 of a digest set; "" where there is none."""
    value = raw.get(key)
    if isinstance(value, Mapping):
        value = value.get("sha256")
    return value if isinstance(value, str) else ""
