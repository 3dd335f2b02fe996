"""What a build came from, in one form: as lineage.json lists it, or provenance.json where there is no lineage.json."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from pipeline.digests import LOCK_FILE, canonical_sha256
from pipeline.lineage.identify import Identified
from pipeline.tracking.provenance import STAGES
from pipeline.tracking.statement import Ancestor, Resource, Statement

#: What the stages of an export read, by dvc.yaml: the order of a build is what "urn:kumulus:export:1" stands for.
READS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "acquire": (),
    "refine_labels": ("data/raw",),
    "rasterize": ("data/raw", "data/labels"),
    "spatial_split": ("data/scenes",),
    "train": ("data/scenes", "data/splits"),
    "evaluate": ("data/scenes", "data/splits", "models/checkpoint"),
    "export": ("data/raw", "data/labels", "data/scenes", "data/splits", "models/checkpoint", "reports/evaluate"),
})

#: Folder in provenance.json -> artifact and the stage that makes it.
FOLDERS = {"raw": ("data/raw", "acquire"), "labels": ("data/labels", "refine_labels"),
           "scenes": ("data/scenes", "rasterize"), "splits": ("data/splits", "spatial_split"),
           "checkpoint": ("models/checkpoint", "train")}


@dataclass(frozen=True)
class Known:
    """What is known of a build or prediction, from whichever record is at hand."""

    #: export or prediction.
    kind: str
    resources: tuple[Resource, ...]
    params: Mapping[str, Any]
    environments: Mapping[str, Mapping[str, Any]]
    ancestry: tuple[Ancestor, ...]
    #: In the order of the pipeline.
    stages: tuple[str, ...]


def known(identified: Identified) -> Known | None:
    """What the statement, or without it provenance.json, says; None where neither is at hand."""
    if identified.statement is not None:
        return _of_statement(identified.statement)
    return None if identified.provenance_json is None else _build_of(identified.provenance_json)


def of_model(identified: Identified) -> Known | None:
    """The same of the model that made a predicted map."""
    if identified.model_statement is not None:
        return _of_statement(identified.model_statement)
    return None if identified.provenance_json is None else _build_of(identified.provenance_json)


def _of_statement(statement: Statement) -> Known:
    named = {stage for resource in statement.resources for stage in resource.stages}
    stages = tuple(stage for stage in STAGES if stage in named or stage in statement.environments)
    return Known(statement.kind, statement.resources, statement.params, statement.environments, statement.ancestry,
                 stages)


def _build_of(raw: Mapping[str, Any]) -> Known:
    return Known("export", tuple(_of_provenance(raw)), raw.get("params", {}), {"export": raw.get("environment", {})},
                 _starts(raw), STAGES)


def reads(stage: str, artifacts: Iterable[str]) -> list[str]:
    """The artifacts among those named that a stage reads: its folders, and files within them."""
    names = list(artifacts)
    return [name for folder in READS.get(stage, ()) for name in names if PurePosixPath(name).is_relative_to(folder)]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested plain data as dotted keys and text; lists as JSON."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def _of_provenance(raw: Mapping[str, Any]) -> Iterable[Resource]:
    data = raw.get("data", {})
    for asset in _assets(data.get("catalog", {})):
        yield Resource(f"data/raw/{asset['file']}", "source", asset["sha256"], uri=asset.get("href", ""),
                       licence=asset.get("licence", ""))
    for folder, files in data.get("files", {}).items():
        name, stage = FOLDERS.get(folder, (folder, ""))
        yield Resource(name, "artifact", canonical_sha256(files), stages=(stage,) if stage else ())
        for path, sha256 in files.items():
            yield Resource(f"{name}/{path}", "file", sha256, artifact=name)
    stages: dict[str, list[str]] = {}
    digests: dict[str, str] = {}
    for stage, files in raw.get("code", {}).items():
        for path, sha256 in files.items():
            stages.setdefault(path, []).append(stage)
            digests[path] = sha256
    for path, sha256 in sorted(digests.items()):
        yield Resource(path, "code", sha256, stages=tuple(s for s in STAGES if s in stages[path]))
    if lock := raw.get("lock"):
        yield Resource(LOCK_FILE, "lock", lock)


def _assets(catalog: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a catalog that are files of data/raw; answers of a network (`assets`) are none."""
    entries = [*catalog.get("scenes", []), catalog.get("labels"), catalog.get("reference")]
    return [entry for entry in entries if isinstance(entry, Mapping) and entry.get("file") and entry.get("sha256")]


def _starts(raw: Mapping[str, Any]) -> tuple[Ancestor, ...]:
    return tuple(Ancestor(digest) for digest in raw.get("warm_start", {}).values())
