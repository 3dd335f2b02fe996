"""What MLflow was told of a build: tags of its runs and model versions, held against the statement.

MLflow repeats what it was told and checks nothing, so its tags are claims. A build that this MLflow does not know, or
an MLflow that does not answer, is noted and takes nothing from the verdict.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.digests import canonical_sha256
from pipeline.lineage.case import Case
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.params.dotted import value_at
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, FoundVersion, Lookup, is_run_id, looking
from pipeline.tracking.names import PROVENANCE, STATEMENT_FILE
from pipeline.tracking.oids import md5_of
from pipeline.tracking.statement import Statement
from pipeline.tracking.store import RefusedError, UnreachableError, locate

_PARENT, _OWN = "mlflow.parentRunId", "kumulus."
_DATA, _END = "kumulus.data_", "_sha256"


def mlflow_links(case: Case, stated: Statement) -> list[Link]:
    """Links of the training's run, the export's run and the versions of the model; one that says why where none is."""
    paths = case.objects.paths
    place, links = locate(paths).shown, []
    try:
        with looking(paths) as lookup:
            for link in _links(lookup, case, stated):
                links.append(link)  # those before an error are kept
    except (UnreachableError, RefusedError) as error:
        return [*links, _absent(f"MLflow at {place} does not tell about {'the rest of ' if links else ''}the run: "
                                f"{error}")]
    return links or [_absent(f"MLflow at {place} knows no run of this build; `kumulus sync` where it was made sends "
                             "it")]


def _links(lookup: Lookup, case: Case, stated: Statement) -> Iterator[Link]:
    found = lookup.runs({RUN_KEY: stated.run_key, STAGE: "train"}) if stated.run_key else []
    trainings = {run.run_id: run for run in found}
    ours = [run for run in _exports(lookup, stated, trainings) if _is_ours(lookup, run, case, stated)]
    for run in ours:
        if (parent := run.tags.get(_PARENT, "")) and parent not in trainings:
            known = lookup.known_run(parent, deleted=True) if is_run_id(parent) else None
            if known is not None:
                trainings[parent] = known
                continue
            place = f"MLflow run {run.run_id}"
            yield Link("run", f"tag {_PARENT}", place, Verdict.CONTRADICTED, ", ".join(trainings), parent,
                       f"tag {_PARENT} of {place} must be the run of the training: it is {parent[:64]!a}, which is "
                       "none; set it back, or find out who changed it")
    for run in (*ours, *trainings.values()):
        yield from _tags("run", f"MLflow run {run.run_id}", run.tags, _expected(run, run in ours, case, stated))
    for run in ours:
        for version in lookup.versions_of(run.run_id):
            yield from _version(version, stated)


def _exports(lookup: Lookup, stated: Statement, trainings: Iterable[str]) -> list[FoundRun]:
    """Runs that may have finished this export: by the key or the run of the training, or by provenance.json."""
    asked = [{RUN_KEY: stated.run_key, STAGE: "export"}] if stated.run_key else []
    asked += [{PROVENANCE: stated.provenance}] if stated.provenance else []
    asked += [{_PARENT: run_id} for run_id in trainings]
    return list({run.run_id: run for tags in asked for run in lookup.runs(tags)}.values())


def _is_ours(lookup: Lookup, run: FoundRun, case: Case, stated: Statement) -> bool:
    """Whether a run keeps this very lineage.json; where it keeps none, whether key and digest are this build's."""
    kept = lookup.artifact(run.run_id, f"export/{STATEMENT_FILE}")
    if kept is None or not kept.is_file():
        return run.key == stated.run_key and run.tags.get(PROVENANCE) == stated.provenance
    data = kept.read_bytes()
    listed = case.listed.get(STATEMENT_FILE)
    if listed:
        return md5_of(data) == listed
    return case.beside is not None and data == case.beside.data


def _version(version: FoundVersion, stated: Statement) -> Iterator[Link]:
    """The tags of a version that export's run has made; one that a person made of the run's files has none."""
    if not version.sha256 and not any(tag.startswith(_OWN) for tag in version.tags):
        return
    node, place = f"model_version:{version.name}/{version.version}", f"MLflow, {version.shown}"
    yield from _tags(node, place, version.tags, {PROVENANCE: stated.provenance, RUN_KEY: stated.run_key})
    if version.sha256:
        yield from _tags(node, place, {"sha256": version.sha256}, {"sha256": stated.subjects.get("model.onnx", "")})


def _expected(run: FoundRun, is_export: bool, case: Case, stated: Statement) -> dict[str, str]:
    """Tag -> what the statement says it must be, for all that `tracking.identity` writes, there or not."""
    stage = "export" if is_export else "train"
    code = {r.name: r.sha256 for r in stated.of_kind("code") if stage in r.stages}
    expected = {RUN_KEY: stated.run_key, STAGE: stage, "kumulus.seed": str(stated.params.get("seed", ""))}
    if code:
        expected["kumulus.code_sha256"] = canonical_sha256(dict(sorted(code.items())))
    for lock in stated.of_kind("lock"):
        expected["kumulus.lock_sha256"] = lock.sha256
    if is_export:
        expected[PROVENANCE] = stated.provenance
    known, definition = _data(stated), _definition(stage, case, stated)
    if definition is not None:
        keys = sorted(definition.get("params") or [])
        expected["kumulus.params_sha256"] = canonical_sha256({key: value_at(stated.params, key) for key in keys})
        expected |= {f"{_DATA}{name}{_END}": digest for name, digest in _deps(definition, stated).items()}
    for tag, value in run.tags.items():
        name = tag.removeprefix(_DATA).removesuffix(_END)
        if tag not in expected and tag == f"{_DATA}{name}{_END}" and name in known:
            expected[tag] = value if value in known[name] else known[name][0]
    return expected


def _data(stated: Statement) -> dict[str, list[str]]:
    """Name as tags have it -> sha256 of the artifacts and files that may be meant by it."""
    found: dict[str, list[str]] = {}
    for resource in stated.of_kind("artifact", "file", "input"):
        for name in {PurePosixPath(resource.name).name, _whole(resource.name)}:
            found.setdefault(name, []).append(resource.sha256)
    return found


def _deps(definition: Mapping[str, Any], stated: Statement) -> dict[str, str]:
    """{name as tags have it: sha256} of the artifacts and files on record that a stage reads."""
    recorded = {r.name: r.sha256 for r in stated.of_kind("artifact", "file", "input")}
    deps = [dep for dep in definition.get("deps") or [] if dep in recorded]
    last = [PurePosixPath(dep).name for dep in deps]
    return {name if last.count(name) == 1 else _whole(dep): recorded[dep]
            for dep, name in zip(deps, last, strict=True)}


def _whole(name: str) -> str:
    return name.strip("/").replace("/", "_")


def _definition(stage: str, case: Case, stated: Statement) -> Mapping[str, Any] | None:
    """A stage of the dvc.yaml on record; None where that is not here."""
    for file in stated.of_kind("pipeline"):
        path = case.objects.root / file.name
        here = case.hashes.of(path)
        data = path.read_bytes() if here is not None and here.sha256 == file.sha256 else None
        data = data or case.objects.git.blobs([file.git_blob]).get(file.git_blob)
        if data is not None and hashlib.sha256(data).hexdigest() == file.sha256:
            try:
                found: Any = YAML(typ="safe").load(data.decode("utf-8"))
                return dict(found["stages"][stage])
            except (YAMLError, KeyError, TypeError, ValueError):
                return None
    return None


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
