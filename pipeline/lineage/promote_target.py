"""Which registered version `kumulus promote RUN` means: by version, alias, run, training's key or experiment."""

import hashlib
import re
from collections.abc import Sequence

from pipeline.errors import IntegrityError, ModelError
from pipeline.experiments.repository import experiment_rev, git
from pipeline.lineage.dvc_store import DvcLock
from pipeline.lineage.objects import Objects
from pipeline.paths import Paths
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, FoundVersion, Lookup, is_run_id
from pipeline.tracking.names import PROVENANCE, PROVENANCE_FILE

EXPERIMENT = "kumulus.dvc_experiment"

#: Keys of trainings, or how they begin: run names show eight characters.
_KEY = re.compile(r"^[0-9a-f]{8,32}$")


def find_version(run: str, paths: Paths, lookup: Lookup) -> FoundVersion:
    """The version that is meant.

    Args:
        run: `models:/name/version`, `models:/name@alias`, `runs:/id` or the id of a run (of any stage), the key of a
            training (or its first eight characters), or the name of an experiment of DVC.
        paths: the repository.
        lookup: its MLflow.

    Raises:
        ModelError: nothing of the kind is known, no version came of it, or several different ones.
        IntegrityError: an experiment's export is in no place of DVC.
        RefusedError: MLflow knows no such version or run.
    """
    if run.startswith("models:/"):
        return lookup.version(run)
    if run.startswith("runs:/"):
        return _of_run(run, lookup.run(run.removeprefix("runs:/").partition("/")[0]), lookup)
    if is_run_id(run) and (made := lookup.known_run(run)) is not None:  # the key of a training looks alike
        return _of_run(run, made, lookup)
    if _KEY.match(run) and (found := lookup.versions(RUN_KEY, run, begins=True)):
        return _only(run, found)
    return _of_experiment(run, paths, lookup)


def _of_run(target: str, run: FoundRun, lookup: Lookup) -> FoundVersion:
    """That of an export's own run; else that of the training which the run belongs to."""
    if not run.key:
        raise ModelError(f"{target} must be a run that Kumulus made: it has no tag {RUN_KEY}; name another")
    versions = lookup.versions(RUN_KEY, run.key)
    own = [version for version in versions if version.run_id == run.run_id]
    return _only(target, own or versions)


def _of_experiment(name: str, paths: Paths, lookup: Lookup) -> FoundVersion:
    """By what its commit exported (restored from the run-cache or not); without a commit by the tag of the run."""
    try:
        rev = experiment_rev(paths.root, name)
    except IntegrityError:
        rev = None  # no git here
    if rev is not None:
        return _only(f"experiment {name}", lookup.versions(PROVENANCE, _exported(name, rev, paths)))
    runs = lookup.runs({EXPERIMENT: name, STAGE: "export"})
    if not runs:
        raise ModelError(f"what is promoted must be models:/name/version, models:/name@alias, an MLflow run's id, a "
                         f"training's key or an experiment of DVC: got {name!r}, which is none; see `kumulus ui` and "
                         "`dvc exp list`")
    ids = {run.run_id for run in runs}
    return _only(f"experiment {name}", [v for v in lookup.versions(RUN_KEY, runs[0].key) if v.run_id in ids])


def _exported(name: str, rev: str, paths: Paths) -> str:
    """sha256 of the provenance.json in the models/export of a commit."""
    objects = Objects(paths)
    export = paths.export.relative_to(paths.root).as_posix()
    oid = DvcLock.parse(git(paths.root, "show", f"{rev}:./dvc.lock").encode()).outs.get(export, "")
    md5 = objects.folder(oid).get(PROVENANCE_FILE, "") if oid else ""
    data = objects.by_md5(md5) if md5 else None
    if data is None:
        raise IntegrityError(f"experiment {name} must have its {export} in DVC's cache or a remote: it is in neither; "
                             "run `dvc exp apply` and `dvc repro`, or name models:/name/version")
    return hashlib.sha256(data).hexdigest()


def _only(target: str, found: Sequence[FoundVersion]) -> FoundVersion:
    """The newest of versions that are one build; several builds are for the user to choose from."""
    if not found:
        raise ModelError(f"{target} must have come to a registered version: MLflow has none of it; run `kumulus sync` "
                         "where it was made, or `dvc repro` where export has not run")
    if len({version.tags.get(PROVENANCE, "") for version in found}) > 1:
        several = ", ".join(f"models:/{version.name}/{version.version}" for version in found)
        raise ModelError(f"{target} must be one export to be promoted: it was exported several times, with other "
                         f"params or code; name one of {several}")
    return found[0]
