"""What MLflow tells about a build: its training's run, and the versions of the model that name it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.paths import Paths
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, FoundVersion, Lookup, looking
from pipeline.tracking.names import PROVENANCE
from pipeline.tracking.store import RefusedError, UnreachableError, locate


@dataclass(frozen=True)
class View:
    """The run of the training and the versions of the model that the build was registered as, the newest first."""

    place: str
    run: FoundRun | None = None
    versions: Sequence[FoundVersion] = ()
    #: What could not be asked or is not there, one sentence each.
    missing: tuple[str, ...] = ()


def look(paths: Paths, key: str, provenance: str, statement: Mapping[str, Any] | None = None) -> View:
    """Ask the MLflow of this repository, within seconds.

    Args:
        paths: the repository.
        key: of the training; "" takes it from the run of the export with this provenance.
        provenance: digest of provenance.json.
        statement: lineage.json as it was read, which tells two exports of one provenance.json apart; None without one.
    """
    place = locate(paths).shown
    try:
        with looking(paths) as lookup:
            if not key:
                exports = lookup.runs({PROVENANCE: provenance})
                key = exports[0].key if exports else ""
            runs = lookup.runs({RUN_KEY: key, STAGE: "train"}) if key else []
            versions = _own(lookup, lookup.versions(PROVENANCE, provenance) if provenance else [], statement)
    except (UnreachableError, RefusedError) as error:
        return View(place, missing=("the run and the versions of the model, which MLflow has on record: "
                                    f"{place} does not tell: {error}; set MLFLOW_TRACKING_URI to what does",))
    missing = () if runs else (f"the training's run is not on the MLflow in use ({place}); `kumulus sync` in the "
                               "repository that trained it sends it, or set MLFLOW_TRACKING_URI",)
    return View(place, runs[0] if runs else None, versions, missing)


def _own(lookup: Lookup, found: list[FoundVersion], statement: Mapping[str, Any] | None) -> list[FoundVersion]:
    """Of versions with one provenance.json those whose run keeps this very statement; all where none does."""
    if statement is None or len(found) < 2:
        return found
    return [version for version in found if _keeps(lookup, version.run_id, statement)] or found


def _keeps(lookup: Lookup, run_id: str, statement: Mapping[str, Any]) -> bool:
    kept = lookup.artifact(run_id, "export/lineage.json") if run_id else None
    try:
        return kept is not None and kept.is_file() and bool(json.loads(kept.read_bytes()) == statement)
    except ValueError:
        return False  # damaged
