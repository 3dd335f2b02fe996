"""lineage.json of an export, written last: its finished files, and by digest all that they came from.

Read again by `pipeline.tracking.statement`, where the form is described. Imports no mlflow.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.digests import CODE_ROOT, LOCK_FILE, file_sha256, folder_digests, folder_sha256, stage_code, stage_outs
from pipeline.errors import IntegrityError
from pipeline.params.export import ExportParams
from pipeline.params.load import Params
from pipeline.paths import Paths, write_json
from pipeline.tracking.environment import recorded_environment, run_record, stage_environment
from pipeline.tracking.moment import git_state, now
from pipeline.tracking.oids import artifact_digests, git_blob
from pipeline.tracking.provenance import STAGES, warm_starts
from pipeline.tracking.statement import BUILDER, PREDICATE_TYPE, STATEMENT_TYPE

BUILD_TYPE = "urn:kumulus:export:1"
PIPELINE_FILE = "dvc.yaml"

#: A resource descriptor of in-toto: name, digest, annotations, and a uri where there is one.
Descriptor = dict[str, Any]


def export_statement(
    folder: Path, provenance: str, params: Params, paths: Paths, code_root: Path = CODE_ROOT
) -> dict[str, Any]:
    """The statement about the finished files in `folder`, as plain data.

    Outs that no stage reads (reports, models/run.json) are named as far as they are here.

    Args:
        folder: all of the export but lineage.json.
        provenance: sha256 of provenance.json, which every file carries.
        params: the validated params.yaml.
        paths: where the artifacts lie.
        code_root: the folder of dvc.yaml, requirements.lock and the code.

    Raises:
        IntegrityError: an artifact that export reads is missing, or models/run.json, a report or a log is broken.
    """
    run = run_record(paths.run_file)
    starts = run.get("warm_start", {})
    environments = {stage: recorded_environment(stage, paths) for stage in STAGES[:-1]}
    environments["export"] = stage_environment("export", paths)
    return statement(
        BUILD_TYPE,
        folder_digests(folder),
        {"params": params.dump()},
        {"stages": {stage: {"environment": found} for stage, found in environments.items() if found is not None},
         "warm_start": warm_starts(paths.checkpoint)},
        [*_sources(paths), *_inputs(params, paths), *_artifacts(paths, code_root), *_code(code_root)],
        {"provenance": {"sha256": provenance},
         "run": {**run, "warm_start": {k: v for k, v in starts.items() if k != "ancestry"}} if starts else run,
         "git": git_state(paths.root),
         "registered_model": params.section(ExportParams).registered_name,
         "unsealings": unsealings(paths),
         "ancestry": starts.get("ancestry", [])},
        [{"name": paths.run_file.relative_to(paths.root).as_posix(), "digest": {"sha256": file_sha256(paths.run_file)}}]
        if run else [],
    )


def statement(
    build_type: str, files: Mapping[str, str], external: Mapping[str, Any], internal: Mapping[str, Any],
    resources: list[Descriptor], own: Mapping[str, Any], byproducts: list[Descriptor],
) -> dict[str, Any]:
    """An in-toto Statement v1 with a SLSA provenance v1 predicate.

    Args:
        build_type: of `statement.BUILD_TYPES`.
        files: finished file -> sha256.
        external: what the user decided.
        internal: what the machine decided.
        resources: what it came from.
        own: what only Kumulus has words for; with "run", the record of the training.
        byproducts: what came about beside.
    """
    metadata: dict[str, Any] = {"finishedOn": now(), "kumulus": dict(own)}
    if key := own.get("run", {}).get("key", ""):
        metadata["invocationId"] = key
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {"buildType": build_type, "externalParameters": dict(external),
                                "internalParameters": dict(internal), "resolvedDependencies": resources},
            "runDetails": {"builder": {"id": BUILDER, "version": {"kumulus": version("kumulus")}},
                           "metadata": metadata, "byproducts": byproducts},
        },
    }


def write_statement(path: Path, content: Mapping[str, Any]) -> None:
    """Write it; from here on no file it names may change."""
    write_json(path, content)


def descriptor(name: str, kind: str, digest: Mapping[str, str], uri: str = "", **notes: Any) -> Descriptor:
    """A resource descriptor; empty notes and an empty uri are left out."""
    found: Descriptor = {"name": name, "digest": dict(digest),
                         "annotations": {"kind": kind, **{key: value for key, value in notes.items() if value}}}
    return found | ({"uri": uri} if uri else {})


def unsealings(paths: Paths) -> list[dict[str, Any]]:
    """The lines of unseal.log.jsonl that are about the checkpoint that lies there, oldest first.

    Raises:
        IntegrityError: a line is no JSON object.
    """
    if not paths.unseal_log.is_file():
        return []
    model, found = folder_sha256(paths.checkpoint), []
    for number, text in enumerate(paths.unseal_log.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            if line["model"] == model:
                found.append(line)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"line {number} of {paths.unseal_log} must be a look at the test part as `kumulus "
                                 f"unseal` writes it: {error}; restore the committed log") from error
    return found


def _sources(paths: Paths) -> Iterator[Descriptor]:
    """The raw sources by the catalog, and what of a network they were made of."""
    catalog = json.loads(paths.catalog.read_text(encoding="utf-8"))
    raw = paths.raw.relative_to(paths.root).as_posix()
    for entry in (*catalog["scenes"], catalog["labels"], catalog["reference"]):
        if entry:
            yield descriptor(f"{raw}/{entry['file']}", "source", {"sha256": entry["sha256"]}, entry["href"],
                             licence=entry["licence"], time=entry["time"])
    for asset in catalog.get("assets", ()):
        yield descriptor(f"{asset['id']}:{asset['role']}", "asset", {"sha256": asset["sha256"]}, asset["href"],
                         licence=asset["licence"], time=asset["time"])


def _inputs(params: Params, paths: Paths) -> Iterator[Descriptor]:
    """The user's own files that acquire read, where they are here; a folder elsewhere goes by "inputs:"."""
    inputs = str(params.dump("acquire")["acquire"]["inputs"])
    if (place := paths.root / inputs).exists():
        name = "inputs:" if PurePosixPath(inputs).is_absolute() else inputs
        yield from _artifact(name, place, paths, "input", "input")


def _artifacts(paths: Paths, code_root: Path) -> Iterator[Descriptor]:
    """The outs of the stages before export, and their files; reports and run.json only where they are here."""
    needed = {paths.raw, paths.labels, paths.scenes, paths.splits, paths.checkpoint}
    for stage in STAGES[:-1]:
        for out in stage_outs(code_root, stage):
            if (paths.root / out).exists() or paths.root / out in needed:
                yield from _artifact(out, paths.root / out, paths, "artifact", "file", stage=stage)


def _artifact(name: str, place: Path, paths: Paths, kind: str, file_kind: str, **notes: str) -> Iterator[Descriptor]:
    found = artifact_digests(place, paths.root)
    yield descriptor(name, kind, {"md5": found.oid, "sha256": found.sha256}, **notes)
    for file, digests in found.files.items():
        yield descriptor(f"{name.rstrip('/')}/{file}", file_kind, {"md5": digests.md5, "sha256": digests.sha256},
                         artifact=name)


def _code(root: Path) -> Iterator[Descriptor]:
    """Each code file with the stages that it is part of, the locked libraries and the pipeline's definition."""
    stages: dict[str, list[str]] = {}
    for stage in STAGES:
        for name in stage_code(root, stage):
            stages.setdefault(name, []).append(stage)
    for name in sorted(stages):
        yield _tracked(root, name, "code", stages=stages[name])
    yield _tracked(root, LOCK_FILE, "lock")
    yield _tracked(root, PIPELINE_FILE, "pipeline")


def _tracked(root: Path, name: str, kind: str, **notes: Any) -> Descriptor:
    file = root / name
    return descriptor(name, kind, {"sha256": file_sha256(file), "gitBlob": git_blob(file.read_bytes())}, **notes)
