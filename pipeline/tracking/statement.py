"""lineage.json, read: an in-toto Statement v1 whose predicate is SLSA provenance v1.

It names the finished files of an export or a prediction by sha256, and everything they came from by digest: sources,
DVC-tracked artifacts, code, params, locked libraries, the run, the machine of each stage, and the statements of what
the training started from. Imports no mlflow.

in-toto Statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
SLSA provenance: https://slsa.dev/spec/v1.0/provenance
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pipeline.errors import IntegrityError
from pipeline.tracking import wellformed
from pipeline.tracking.wellformed import as_line, as_list, as_mapping, as_text

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
OLD_FORMAT = "kumulus-lineage-1"
OLD_ADVICE = (f"a statement must be an in-toto Statement v1: got {OLD_FORMAT} of an earlier version, which cannot be "
              "checked; run `dvc repro --force --single-item export`")


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
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} must be a lineage.json: not found; name another file") from error
    except OSError as error:
        raise IntegrityError(f"{path} must be a lineage.json: {error}; name another file") from error
    try:
        return loads(data)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error


def loads(data: bytes | str) -> Statement:
    """The statement in the bytes of a lineage.json.

    Raises:
        IntegrityError: they are no statement of Kumulus, whatever they are.
    """
    return parse(as_mapping("a lineage.json", wellformed.read_json(data)))


def parse(raw: Mapping[str, Any]) -> Statement:
    """The statement in plain data, whose form is checked in all that is read of it.

    Raises:
        IntegrityError: it is of an older version, another kind of file, lacks a part, or has one of another form.
    """
    if raw.get("format") == OLD_FORMAT:
        raise IntegrityError(OLD_ADVICE)
    wellformed.check_plain(raw)
    for key, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if raw.get(key) != wanted:
            raise IntegrityError(f"a statement must have {key} {wanted}: got {raw.get(key)!r}; name a lineage.json")
    definition, details = _part(raw, "predicate.buildDefinition"), _part(raw, "predicate.runDetails")
    build_type = str(definition.get("buildType"))
    if build_type not in BUILD_TYPES:
        raise IntegrityError(f"a statement must have a buildType of {list(BUILD_TYPES)}: got {build_type!r}; it is "
                             "another tool's, or a newer version's")
    own, params = _part(details, "metadata.kumulus"), _part(definition, "externalParameters.params")
    run, git = as_mapping("run", own.get("run") or {}), as_mapping("git", own.get("git") or {})
    stages = as_mapping("stages", as_mapping("internalParameters", definition.get("internalParameters", {}))
                        .get("stages", {}))
    wellformed.check_params(params)
    return Statement(
        kind=BUILD_TYPES[build_type],
        provenance=_digest(own.get("provenance")),
        subjects=_subjects(raw),
        resources=_resources(definition, params),
        params=params,
        environments={stage: wellformed.check_environment(f"environment of {stage}", _key(entry, "environment"))
                      for stage, entry in stages.items()},
        run_key=_run_key(run),
        run=run,
        commit=wellformed.check_digest("git.commit", git["commit"], wellformed.GIT) if git.get("commit") else None,
        dirty=bool(git.get("dirty")),
        registered_model=as_text("registered_model", own.get("registered_model")),
        unsealings=tuple(as_mapping("unsealings", line) for line in as_list("unsealings", own.get("unsealings", []))),
        ancestry=tuple(_generations(as_list("ancestry", own.get("ancestry", [])))),
        finished=wellformed.check_time("finishedOn", _part(details, "metadata").get("finishedOn")),
        raw=raw,
    )


def _subjects(raw: Mapping[str, Any]) -> dict[str, str]:
    found = [(wellformed.check_name(_key(entry, "name"), "a subject"), _sha256(entry))
             for entry in as_list("subject", _key(raw, "subject"))]
    wellformed.check_once("a subject", (name for name, _ in found))
    return dict(found)


def _resources(definition: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[Resource, ...]:
    entries = as_list("resolvedDependencies", _key(definition, "resolvedDependencies"))
    inputs = str(as_mapping("acquire", params.get("acquire", {})).get("inputs", ""))
    found = tuple(_resource(entry, inputs) for entry in entries)
    # one asset may have been read for two scenes, and two entries of a catalog may be one file
    apart = {(r.kind, r.name, r.sha256 if r.kind == "source" else str(number))
             for number, r in enumerate(found) if r.kind != "asset"}
    wellformed.check_once("a resource", (f"{kind} {name}" for kind, name, _ in apart))
    return found


def _resource(entry: Any, inputs: str) -> Resource:
    digest, notes = as_mapping("digest", _key(entry, "digest")), as_mapping("annotations", _key(entry, "annotations"))
    kind = as_line("a resource's kind", _key(notes, "kind"))
    if kind not in RESOURCE_KINDS:
        raise IntegrityError(f"a resource's kind must be one of {list(RESOURCE_KINDS)}: got {kind!r}; take the file "
                             "from where it came anew")
    name = as_line("a resource's name", _key(entry, "name"))
    if kind != "asset":  # that is "item:role", and no file
        wellformed.check_name(name.removeprefix("inputs:/") or ".", f"the name of a resource of kind {kind}",
                              inputs if kind == "input" else "")
    stages = as_list("stages", notes.get("stages") or ([notes["stage"]] if notes.get("stage") else []))
    return Resource(
        name, kind, _sha256(entry),
        wellformed.check_digest(f"md5 of {name}", digest["md5"], wellformed.MD5) if "md5" in digest else "",
        wellformed.check_digest(f"gitBlob of {name}", digest["gitBlob"], wellformed.GIT) if "gitBlob" in digest else "",
        as_line(f"uri of {name}", as_text(f"uri of {name}", entry.get("uri"))),
        tuple(as_line(f"a stage of {name}", stage) for stage in stages),
        as_line(f"artifact of {name}", notes.get("artifact", "")),
        as_text(f"licence of {name}", notes.get("licence")))


def _generations(entries: list[Any]) -> Iterator[Ancestor]:
    """The ancestors of one statement, then those of their statements; each generation nearer than the next."""
    found = []
    for entry in entries:
        known = as_mapping("an ancestor", entry)
        behind = known.get("statement")
        found.append(Ancestor(
            wellformed.check_digest("an ancestor's sha256", _key(known, "sha256"), wellformed.SHA256),
            as_line("an ancestor's uri", as_text("an ancestor's uri", known.get("uri"))),
            wellformed.check_key("an ancestor's run_key", known.get("run_key")),
            parse(as_mapping("an ancestor's statement", behind)) if behind else None))
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
    return value


def _key(raw: Any, key: str) -> Any:
    """What an object has under a key."""
    if not isinstance(raw, Mapping) or key not in raw:
        raise IntegrityError(f"a statement must be whole, as `kumulus` writes it: a part has no {key}; take it from "
                             "where it came anew")
    return raw[key]


def _sha256(entry: Any) -> str:
    digest = as_mapping("digest", _key(entry, "digest"))
    return wellformed.check_digest(f"sha256 of {entry.get('name')!a}", _key(digest, "sha256"), wellformed.SHA256)


def _digest(value: Any) -> str:
    """The sha256 of a digest set; "" where there is none."""
    sha256 = _key(value, "sha256") if value else ""
    return wellformed.check_digest("provenance", sha256, wellformed.SHA256) if sha256 != "" else ""


def _run_key(run: Mapping[str, Any]) -> str:
    """The key of models/run.json, whose parts have their form."""
    start = as_mapping("run.warm_start", run.get("warm_start") or {})
    wellformed.check_key("run.warm_start.run_key", start.get("run_key"))
    as_text("run.warm_start.uri", start.get("uri"))
    wellformed.check_environment("run.environment", run.get("environment") or {})
    return wellformed.check_key("run.key", run.get("key"))
