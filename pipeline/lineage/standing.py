"""How a registered version scores, from the very files its statement names: gates, and counts by block for comparisons.

metrics.json, confusions.parquet and certificate.json are found by their digests: in the workspace, DVC's cache and
remotes, git, or among the artifacts of evaluate's run in MLflow. Nothing is taken from tags of MLflow.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.evaluation.gating import gates
from pipeline.evaluation.tally import NETWORK, TTA
from pipeline.experiments.results import Result
from pipeline.lineage.diff_scores import SCORED, read_scored
from pipeline.lineage.finder import Finder
from pipeline.lineage.identify import Identified
from pipeline.metrics.gates import Gate
from pipeline.params.targets import parse_targets
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.lookup import FoundVersion, Lookup
from pipeline.tracking.statement import Resource, Statement

_SPLIT = "data/splits"


@dataclass(frozen=True)
class Standing:
    """What is known of how a version scores on val."""

    version: FoundVersion
    #: network, or network_tta where the model was exported with test-time augmentation.
    method: str
    #: metrics.json; None where it is nowhere.
    metrics: Mapping[str, Any] | None
    #: Counts by block; None where they are nowhere.
    result: Result | None
    #: sha256 of data/splits; "" where no statement says.
    split: str
    #: params.yaml of the build.
    params: Mapping[str, Any]
    #: Of evaluate.targets of the build.
    gates: tuple[Gate, ...]
    #: What could not be found, one sentence each.
    missing: tuple[str, ...]

    @property
    def shown(self) -> str:
        """`kumulus-settlement version 3`."""
        return f"{self.version.name} version {self.version.version}"


def standing(version: FoundVersion, identified: Identified, finder: Finder, lookup: Lookup) -> Standing:
    """Read what evaluate left of a version, as far as its bytes are found.

    Args:
        version: of the registry.
        identified: what it is, with its statement where that was found.
        finder: looks for files by digest.
        lookup: the MLflow that holds the version.

    Raises:
        IntegrityError: metrics.json or the counts are not what evaluate writes, or not of the build.
    """
    statement = identified.statement
    if statement is None:
        return Standing(version, NETWORK, None, None, "", {}, (), identified.missing)
    method = TTA if statement.params.get("export", {}).get("tta") == "d4" else NETWORK
    runs = [run.run_id for run in lookup.runs({RUN_KEY: statement.run_key, STAGE: "evaluate"})]
    found: dict[str, Path] = {}
    missing = []
    for short, name in SCORED.items():
        file = _file(name, statement, runs, finder, lookup)
        if file is None:
            missing.append(f"{name} of {version.name} version {version.version}, as its statement names it, is in no "
                           "place that was searched: workspace, DVC, git, MLflow")
        else:
            found[short] = file
    metrics = json.loads(found["metrics.json"].read_bytes()) if "metrics.json" in found else None
    judged = () if metrics is None else _judged(metrics, statement, method)
    result = read_scored(found, method) if len(found) == len(SCORED) else None
    split = next((r.sha256 for r in statement.resources if r.kind == "artifact" and r.name == _SPLIT), "")
    return Standing(version, method, metrics, result, split, statement.params, judged, tuple(missing))


def _judged(metrics: Mapping[str, Any], statement: Statement, method: str) -> tuple[Gate, ...]:
    """The gates of the build, judged anew."""
    try:
        declared = statement.params["evaluate"]
        return gates(metrics, parse_targets(declared.get("targets")), declared["bootstrap"]["confidence"], method)
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"the statement's params and {SCORED['metrics.json']} must be of one build to be judged: "
                             f"{type(error).__name__} {error}; see `kumulus trace --verify`") from error


def _file(name: str, statement: Statement, runs: list[str], finder: Finder, lookup: Lookup) -> Path | None:
    resource = next((r for r in statement.resources if r.kind == "file" and r.name == name), None)
    if resource is None:
        return None
    return finder.resource(resource) or _logged(resource, runs, finder, lookup)


def _logged(resource: Resource, runs: list[str], finder: Finder, lookup: Lookup) -> Path | None:
    """The file among the artifacts of one of evaluate's runs, of which several may have had one key."""
    for run in runs:
        kept = lookup.artifact(run, f"evaluate/{Path(resource.name).name}")
        if kept is not None and (found := finder.resource(resource, kept)) is not None:
            return found
    return None
