"""A registered model's version or a run of MLflow, as the target of a trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256
from pipeline.errors import IntegrityError, ModelError, NotHereError, NotKumulusError
from pipeline.lineage.claims import read_claims
from pipeline.paths import Paths
from pipeline.tracking import statement as statements
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, FoundVersion, Lookup, looking
from pipeline.tracking.names import PROVENANCE, PROVENANCE_FILE, STATEMENT_FILE
from pipeline.tracking.statement import Statement
from pipeline.tracking.store import RefusedError, UnreachableError, locate
from pipeline.tracking.wellformed import provenance_of


@dataclass(frozen=True)
class MlflowTarget:
    """What MLflow tells of a model or run."""

    #: mlflow_model or mlflow_run.
    kind: str
    #: The model's file where its artifact store lies on this machine; None where it was only downloaded and hashed.
    file: Path | None
    sha256: str
    #: The tag of the version or of export's run; "" for a training that was not exported.
    provenance: str
    #: Export's run: where the two statements below were found.
    place: str
    statement: Statement | None
    provenance_json: Mapping[str, Any] | None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find(target: str, paths: Paths) -> MlflowTarget:
    """Look a target up in the MLflow of this repository.

    Args:
        target: `models:/name/version`, `models:/name@alias`, `runs:/id` or a run's id.
        paths: the repository.

    Raises:
        NotHereError: MLflow does not answer.
        ModelError: it knows no such thing.
        NotKumulusError: the version or run was not made by Kumulus.
    """
    store = locate(paths)
    try:
        with looking(paths) as lookup:
            return _version(lookup, target) if target.startswith("models:/") else _run(lookup, target)
    except UnreachableError as error:
        raise NotHereError(f"{target} must be looked up in MLflow at {store.shown}, which did not answer: {error}; "
                           "start it, or set MLFLOW_TRACKING_URI") from error
    except RefusedError as error:
        raise ModelError(f"{target} must be something that MLflow at {store.shown} knows: {error}; name "
                         "another") from error


def kept(provenance: str, paths: Paths) -> MlflowTarget | None:
    """The statements that MLflow keeps of a build, by the digest of its provenance.json; None where it has none.

    An MLflow that is not there or does not answer has none.
    """
    try:
        with looking(paths) as lookup:
            for run in lookup.runs({PROVENANCE: provenance, STAGE: "export"}):
                found = _with_statement(lookup, run.run_id, MlflowTarget("mlflow_run", None, "", provenance, "", None,
                                                                         None))
                if found.statement is not None and found.statement.provenance == provenance:
                    return found
    except (UnreachableError, RefusedError):
        return None
    return None


def _version(lookup: Lookup, target: str) -> MlflowTarget:
    version = lookup.version(target)
    provenance = version.tags.get(PROVENANCE, "")
    if not provenance and RUN_KEY not in version.tags:
        raise NotKumulusError(f"{target} must be a model that Kumulus registered: its version has no tag {PROVENANCE}; "
                              "name another")
    file = lookup.model_file(target)
    claims = read_claims(file)
    notes = [claims.damage] if claims.damage else []
    if claims.provenance and claims.provenance != provenance:
        notes.append(f"the version's tag says provenance {provenance or 'nothing'}, its file {claims.provenance}")
    sha256 = file_sha256(file)
    if version.sha256 and version.sha256 != sha256:
        notes.append(f"MLflow was told sha256 {version.sha256} of the model, and its file has {sha256}")
    return _with_statement(lookup, version.run_id, MlflowTarget(
        "mlflow_model", file if lookup.stays(file) else None, sha256, provenance, "", None, None,
        _version_facts(version) | dict(claims.facts), tuple(notes)))


def _version_facts(version: FoundVersion) -> dict[str, str]:
    return {"registered": version.shown, "run key": version.tags.get(RUN_KEY, ""), "MLflow run": version.run_id}


def _run(lookup: Lookup, target: str) -> MlflowTarget:
    run = lookup.run(target.removeprefix("runs:/").partition("/")[0])
    if not run.stage or not run.key:
        raise NotKumulusError(f"{target} must be a run that Kumulus made: it has no tag {RUN_KEY}; name another")
    facts = {"run": run.name, "stage": run.stage, "status": run.status, "run key": run.key}
    exports = [run] if PROVENANCE in run.tags else _exports(lookup, run)
    if not exports:
        return MlflowTarget("mlflow_run", None, "", "", "", None, None, facts,
                            ("no export of this training is on record in MLflow",))
    notes = () if len(exports) == 1 else (
        f"the training was exported {len(exports)} times; this is the newest export, of run {exports[0].run_id}",)
    return _with_statement(lookup, exports[0].run_id, MlflowTarget(
        "mlflow_run", None, "", exports[0].tags[PROVENANCE], "", None, None, facts, notes))


def _exports(lookup: Lookup, run: FoundRun) -> list[FoundRun]:
    return [found for found in lookup.runs({RUN_KEY: run.key, STAGE: "export"}) if PROVENANCE in found.tags]


def _with_statement(lookup: Lookup, run_id: str, target: MlflowTarget) -> MlflowTarget:
    """Add the two statements that export's run keeps."""
    if not run_id:
        return target
    notes, place = list(target.notes), f"MLflow run {run_id}"
    statement: Statement | None = None
    if file := lookup.artifact(run_id, f"export/{STATEMENT_FILE}"):
        try:
            statement = statements.read(file)
        except IntegrityError as error:
            notes.append(str(error))
    raw = None
    if (kept := lookup.artifact(run_id, f"export/{PROVENANCE_FILE}")) and file_sha256(kept) == target.provenance:
        raw = provenance_of(kept.read_bytes())
    return replace(target, statement=statement, provenance_json=raw, place=place, notes=tuple(notes))
