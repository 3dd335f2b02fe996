"""Whether each stage's result was computed in this repository, restored by DVC, or pulled from elsewhere."""

import json
from collections.abc import Iterable

from pipeline.lineage.objects import STATEMENT, Objects
from pipeline.paths import Paths
from pipeline.tracking import computed
from pipeline.tracking.statement import Resource, Statement


def problem(paths: Paths) -> str:
    """Why nothing can be said here; "" where it can."""
    if (paths.root / "dvc.yaml").is_file():
        return ""
    return ("whether each stage was computed, restored or pulled is known in the repository that holds the results: "
            "no dvc.yaml is here")


def of_stages(
    found: Statement | None, resources: Iterable[Resource], stages: Iterable[str], paths: Paths
) -> dict[str, tuple[str, str]]:
    """{stage: (DVC's id of its result, origin)} of the stages whose result has an id on record.

    The result of export, which its own statement cannot name, is the folder in DVC that holds this very statement. One
    that was computed here and is not what dvc.lock names now was followed by another, and restored by nothing.
    """
    objects = Objects(paths)
    oids: dict[str, str] = {}
    for resource in resources:
        if resource.kind == "artifact" and resource.md5 and resource.stages:
            oids.setdefault(resource.stages[0], resource.md5)
    if found is not None and (own := _export_oid(found, objects)):
        oids["export"] = own
    origins: dict[str, tuple[str, str]] = {}
    for stage in (stage for stage in stages if stage in oids):
        origin, here = computed.origin(paths, stage, oids[stage]), oids[stage] in objects.lock.outs.values()
        origins[stage] = oids[stage], "computed here" if origin == "restored" and not here else origin
    return origins


def _export_oid(found: Statement, objects: Objects) -> str:
    """DVC's id of the export that holds this very statement, by any dvc.lock here; "" where DVC's cache has none."""
    for export in objects.exports(remotes=False):
        data = objects.read(export, STATEMENT, remotes=False) if export.oid else None
        try:
            if data is not None and json.loads(data) == found.raw:
                return export.oid
        except ValueError:
            continue
    return ""
