"""A trace as OpenLineage events, one START and one COMPLETE a stage, built by openlineage-python and sent to nobody.

Stages leave no times on record (their outs would change with them), so all events bear the time at which the export was
finished. Specification: https://openlineage.io/spec/2-0-2/OpenLineage.json.
"""

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import IntegrityError
from pipeline.lineage.tree import Node, Trace

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

PRODUCER = "urn:kumulus"
NAMESPACE = "kumulus"

#: Folder of the finished files, whose names are relative to it.
_EXPORT = "models/export"


def to_openlineage(trace: Trace) -> str:
    """The events as lines of JSON, from the sources to the result; equal traces give equal text.

    Raises:
        IntegrityError: the trace has no statement, without which no stage and no time is known.
    """
    from openlineage.client.serde import Serde

    return "\n".join(json.dumps(_plain(Serde.to_dict(event)), sort_keys=True) for event in events(trace))


def events(trace: Trace) -> Iterator["RunEvent"]:
    """The events as the library's own objects.

    Raises:
        IntegrityError: see `to_openlineage`.
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.generated.job_type_job import JobTypeJobFacet
    from openlineage.client.generated.processing_engine_run import ProcessingEngineRunFacet

    record = _record(trace)
    stages = [node for node in trace.nodes if node.kind == "stage"]
    if record is None or not stages:
        raise IntegrityError("OpenLineage events must name stages and a time: there is no lineage.json of an export "
                             "here; " + (trace.missing[0] if trace.missing else "name another file"))
    time, build = record.facts["finished"], record.facts["provenance"]
    for stage in stages:
        facts = next((node.facts for node in trace.after(stage.id, "ran on")), {})
        engine = ProcessingEngineRunFacet(version=facts.get("python", "unknown"), name="Python", producer=PRODUCER)
        job = Job(NAMESPACE, stage.label,
                  {"jobType": JobTypeJobFacet("BATCH", "KUMULUS", "STAGE", producer=PRODUCER)})
        run = Run(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}:{build}:{stage.label}")),
                  {"processing_engine": engine})
        yield RunEvent(eventType=RunState.START, eventTime=time, run=run, job=job, producer=PRODUCER)
        yield RunEvent(eventType=RunState.COMPLETE, eventTime=time, run=run, job=job, producer=PRODUCER,
                       inputs=_inputs(trace, stage), outputs=_outputs(trace, stage, record))


def _record(trace: Trace) -> Node | None:
    """The lineage.json of the export: the target's own, or that of a prediction's model; None where it is not here."""
    own = trace.node("statement")
    return trace.node("statement:model") or (own if own is not None and own.facts["kind"] == "export" else None)


def _inputs(trace: Trace, stage: Node) -> list[Any]:
    from openlineage.client.event_v2 import InputDataset

    read = [node for how in ("reads", "fetched", "started from") for node in trace.after(stage.id, how)]
    return [InputDataset(*_place(node), facets=_version(node)) for node in read
            if node.kind in ("artifact", "source", "ancestor")]


def _outputs(trace: Trace, stage: Node, record: Node) -> list[Any]:
    from openlineage.client.event_v2 import OutputDataset

    made = {start for start, end, how in trace.edges if end == stage.id and how == "made by"}
    nodes = [node for node in trace.nodes if node.id in made]
    nodes += [node for node in trace.after(record.id, "names") if stage.label == "export"]
    return [OutputDataset(*_place(node), facets=_version(node)) for node in nodes]


def _place(node: Node) -> tuple[str, str]:
    """Namespace and name of a dataset: host and path of a URL, else the path in the repository."""
    parts = urlsplit(node.facts.get("from", ""))
    if parts.scheme and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    return NAMESPACE, f"{_EXPORT}/{node.label}" if node.kind == "file" else node.label


def _version(node: Node) -> dict[str, Any]:
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    sha256 = node.facts.get("sha256", "")
    return {"version": DatasetVersionDatasetFacet(sha256, producer=PRODUCER)} if sha256 else {}


def _plain(value: Any) -> Any:
    """Mappings and lists without what is empty, which the library leaves in."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item not in ({}, [])}
    return [_plain(item) for item in value] if isinstance(value, list) else value
