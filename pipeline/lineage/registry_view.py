"""What MLflow tells about a build: its training's run, and the versions of the model that name it."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.paths import Paths
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundRun, FoundVersion, looking
from pipeline.tracking.store import RefusedError, UnreachableError, locate

#: Tag of export's run and of a model version: the digest of provenance.json.
PROVENANCE = "kumulus.provenance"


@dataclass(frozen=True)
class View:
    """The run of the training and all versions that name the build, the newest first."""

    place: str
    run: FoundRun | None = None
    versions: Sequence[FoundVersion] = ()
    #: What could not be asked or is not there, one sentence each.
    missing: tuple[str, ...] = ()


def look(paths: Paths, key: str, provenance: str) -> View:
    """Ask the MLflow of this repository, within seconds.

    Args:
        paths: the repository.
        key: of the training; "" takes it from the run of the export with this provenance.
        provenance: digest of provenance.json.
    """
    place = locate(paths).shown
    try:
        with looking(paths) as lookup:
            if not key:
                exports = lookup.runs({PROVENANCE: provenance})
                key = exports[0].key if exports else ""
            runs = lookup.runs({RUN_KEY: key, STAGE: "train"}) if key else []
            versions = lookup.versions(PROVENANCE, provenance) if provenance else []
    except (UnreachableError, RefusedError) as error:
        return View(place, missing=("the run and the versions of the model, which MLflow has on record: "
                                    f"{place} does not tell: {error}; set MLFLOW_TRACKING_URI to what does",))
    missing = () if runs else (f"the training's run is not on the MLflow in use ({place}); `kumulus sync` in the "
                               "repository that trained it sends it, or set MLFLOW_TRACKING_URI",)
    return View(place, runs[0] if runs else None, versions, missing)
