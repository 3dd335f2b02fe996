"""What MLflow was told of a build: tags of its runs and model versions, held against the statement.

MLflow repeats what it was told and checks nothing, so its tags are claims. A build that this MLflow does not know, or
an MLflow that does not answer, is noted and takes nothing from the verdict.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.digests import canonical_sha256
from pipeline.lineage.case import Case
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, FoundVersion, Lookup, looking
from pipeline.tracking.statement import Statement
from pipeline.tracking.store import RefusedError, UnreachableError, locate

PROVENANCE = "kumulus.provenance"
_PARENT = "mlflow.parentRunId"
_DATA, _END = "kumulus.data_", "_sha256"


def mlflow_links(case: Case, stated: Statement) -> list[Link]:
    """Links of the training's run, the export's run and the versions of the model; one that says why where none is."""
    paths = case.objects.paths
    place = locate(paths).shown
    try:
        with looking(paths) as lookup:
            links = list(_links(lookup, case, stated))
    except (UnreachableError, RefusedError) as error:
        return [_absent(f"MLflow at {place} does not tell about the run: {error}")]
    return links or [_absent(f"MLflow at {place} knows no run of this build; `kumulus sync` where it was made sends "
                             "it")]


def _links(lookup: Lookup, case: Case, stated: Statement) -> Iterator[Link]:
    ours = [run for run in _exports(lookup, stated) if _is_ours(lookup, run, case, stated)]
    found = lookup.runs({RUN_KEY: stated.run_key, STAGE: "train"}) if stated.run_key else []
    trainings = {run.run_id: run for run in found}
    for run in ours:
        if (parent := run.tags.get(_PARENT)) and parent not in trainings:
            trainings[parent] = lookup.run(parent)
    for run in (*ours, *trainings.values()):
        yield from _tags("run", f"MLflow run {run.run_id}", run.tags, _expected(run, case, stated))
    made = {run.run_id for run in ours}
    for version in _versions(lookup, stated):
        if version.run_id in made:
            yield from _version(version, stated)


def _exports(lookup: Lookup, stated: Statement) -> list[FoundRun]:
    """Runs that may have finished this export: by the training's key, or by the digest of provenance.json."""
    asked = [{RUN_KEY: stated.run_key, STAGE: "export"}] if stated.run_key else []
    asked += [{PROVENANCE: stated.provenance}] if stated.provenance else []
    return list({run.run_id: run for tags in asked for run in lookup.runs(tags)}.values())


def _is_ours(lookup: Lookup, run: FoundRun, case: Case, stated: Statement) -> bool:
    """Whether a run keeps this very lineage.json; where it keeps none, whether key and digest are this build's."""
    kept = lookup.artifact(run.run_id, "export/lineage.json")
    if kept is None or not kept.is_file():
        return run.key == stated.run_key and run.tags.get(PROVENANCE) == stated.provenance
    data = kept.read_bytes()
    listed = case.listed.get("lineage.json")
    if listed:
        return hashlib.md5(data, usedforsecurity=False).hexdigest() == listed
    return case.beside is not None and data == case.beside.data


def _versions(lookup: Lookup, stated: Statement) -> list[FoundVersion]:
    asked = [(RUN_KEY, stated.run_key), (PROVENANCE, stated.provenance)]
    found = [version for tag, value in asked if value for version in lookup.versions(tag, value)]
    return list({(version.name, version.version): version for version in found}.values())


def _version(version: FoundVersion, stated: Statement) -> Iterator[Link]:
    node, place = f"model_version:{version.name}/{version.version}", f"MLflow, {version.shown}"
    yield from _tags(node, place, version.tags, {PROVENANCE: stated.provenance, RUN_KEY: stated.run_key})
    if version.sha256:
        yield from _tags(node, place, {"sha256": version.sha256}, {"sha256": stated.subjects.get("model.onnx", "")})


def _expected(run: FoundRun, case: Case, stated: Statement) -> dict[str, str]:
    """Tag -> what the statement says it must be, for the tags that the statement can tell."""
    stage = run.stage if run.stage in ("train", "export") else "export" if run.tags.get(PROVENANCE) else "train"
    code = {r.name: r.sha256 for r in stated.of_kind("code") if stage in r.stages}
    expected = {RUN_KEY: stated.run_key, STAGE: stage, "kumulus.seed": str(stated.params.get("seed", "")),
                "kumulus.code_sha256": canonical_sha256(dict(sorted(code.items())))}
    for lock in stated.of_kind("lock"):
        expected["kumulus.lock_sha256"] = lock.sha256
    if stage == "export":
        expected[PROVENANCE] = stated.provenance
    if (keys := _keys(stage, case, stated)) is not None:
        expected["kumulus.params_sha256"] = canonical_sha256({key: _at(stated.params, key) for key in keys})
    data = _data(stated)
    for tag, value in run.tags.items():
        if tag.startswith(_DATA) and tag.endswith(_END) and (known := data.get(tag[len(_DATA):-len(_END)])):
            expected[tag] = value if value in known else known[0]
    return {tag: value for tag, value in expected.items() if value and tag in run.tags}


def _data(stated: Statement) -> dict[str, list[str]]:
    """Name as tags have it -> sha256 of the artifacts and files that may be meant by it."""
    found: dict[str, list[str]] = {}
    for resource in stated.of_kind("artifact", "file", "input"):
        for name in {PurePosixPath(resource.name).name, resource.name.strip("/").replace("/", "_")}:
            found.setdefault(name, []).append(resource.sha256)
    return found


def _keys(stage: str, case: Case, stated: Statement) -> list[str] | None:
    """The sections of params.yaml that a stage read, by the dvc.yaml on record; None where that is not here."""
    for file in stated.of_kind("pipeline"):
        path = case.objects.root / file.name
        here = case.hashes.of(path)
        data = path.read_bytes() if here is not None and here.sha256 == file.sha256 else None
        data = data or case.objects.git.blobs([file.git_blob]).get(file.git_blob)
        if data is not None and hashlib.sha256(data).hexdigest() == file.sha256:
            try:
                found: Any = YAML(typ="safe").load(data.decode("utf-8"))
                return sorted(found["stages"][stage].get("params", []))
            except (YAMLError, KeyError, TypeError, AttributeError):
                return None
    return None


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _tags(node: str, place: str, tags: Mapping[str, str], expected: Mapping[str, str]) -> Iterator[Link]:
    for tag, wanted in expected.items():
        if not wanted:
            continue
        found = tags.get(tag, "")
        verdict = Verdict.VERIFIED if found == wanted else Verdict.CONTRADICTED
        message = f"tag {tag} is what the statement says" if found == wanted else (
            f"tag {tag} of {place} must be {wanted}, as the statement says: it is {found or 'not there'}; set it back, "
            "or find out who changed it")
        yield Link(node, f"tag {tag}", place, verdict, wanted, found, message)


def _absent(message: str) -> Link:
    return Link("run", "run", "", Verdict.ABSENT, "", "", message, counts=False)
