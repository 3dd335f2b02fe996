"""Replay a journal to MLflow: exactly once as far as anyone can see, however often it is interrupted.

A bookmark beside the journal holds the run's id and how far the events have got. What may be sent twice
around a kill does no harm twice: params, tags and files are replaced by themselves, metrics of one step and
time fall together, and the run and the model version are looked up by the journal's own id before they are
made.
"""

import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pipeline.digests import file_sha256
from pipeline.errors import IntegrityError
from pipeline.tracking import datasets, models
from pipeline.tracking.journal import DELIVERY_FILE, Event, begin, read, writer_lives
from pipeline.tracking.store import Store, client, experiment_id, session

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tags by which runs find each other.
RUN_KEY = "kumulus.run_key"
STAGE = "kumulus.stage"
JOURNAL = "kumulus.journal"
MEMBER = "kumulus.member"
TRIAL = "kumulus.trial"
PARENT = "kumulus.parent"

#: Value of PARENT: the training's run has not come to this MLflow, so far.
NO_PARENT = "not on this MLflow"

#: Stages whose runs have others below them: a training, and a study with its trials.
ABOVE = ("train", "tune")

_METRICS_AT_ONCE = 800
_PAIRS_AT_ONCE = 100
_PARAM_CHARACTERS = 6000


@dataclass
class Bookmark:
    """How far a journal has been delivered."""

    run_id: str = ""
    #: Bytes of events.jsonl that are done.
    offset: int = 0
    #: The logged model of the model event in work.
    model_id: str = ""
    #: What the sender does before the first event goes out.
    step: str = ""
    #: Why the last attempt stopped; "" if it did not.
    problem: str = ""

    @classmethod
    def load(cls, folder: Path) -> "Bookmark":
        """The bookmark of a journal; a new one if it has none."""
        file = folder / DELIVERY_FILE
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()

    def save(self, folder: Path) -> None:
        """Replace the bookmark, whole or not at all."""
        partial = folder / f".{DELIVERY_FILE}"
        partial.write_text(json.dumps(asdict(self), sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(folder / DELIVERY_FILE)


def delivery_lock(root: Path) -> FileLock:
    """The lock under which journals are delivered: one process at a time, so nothing is sent by two."""
    return FileLock(root / ".delivery.lock")


class Courier:
    """Delivers journals to one MLflow. Call it with the delivery lock held."""

    def __init__(self, store: Store) -> None:
        """Connect; mlflow is imported here.

        Raises:
            UnreachableError: the store does not answer.
            RefusedError: it answers with an error.
        """
        self.store = store
        self.client: MlflowClient = client(store)
        with session(store):
            self.experiment_id = experiment_id(self.client, store)

    def open(self, folder: Path) -> None:
        """See that the journal's run is there.

        Raises:
            UnreachableError: MLflow stopped answering.
            RefusedError: MLflow does not take the run.
        """
        mark = Bookmark.load(folder)
        if not mark.run_id:
            with session(self.store):
                mark.run_id = self._run_id(begin(folder))
            mark.save(folder)

    def deliver(self, folder: Path) -> bool:
        """Send what the journal holds beyond its bookmark; True once the run is over and the journal deleted.

        Raises:
            UnreachableError: MLflow stopped answering; what was sent is bookmarked.
            RefusedError: MLflow does not take an event.
            IntegrityError: a kept file is not what it was.
        """
        killed = not writer_lives(folder)
        self.open(folder)
        mark = Bookmark.load(folder)
        with session(self.store):
            for group in _grouped(read(folder, mark.offset)):
                self._send(folder, mark, group)
                mark.offset, mark.model_id, mark.problem = group[-1].next_offset, "", ""
                mark.save(folder)
            last = _last(folder)
            if last.next_offset != mark.offset or not (killed or last.kind == "end"):
                return False
            status = last.fields["status"] if last.kind == "end" else "KILLED"
            self.client.set_terminated(mark.run_id, status, end_time=last.t)
        done = folder.with_name(f".{folder.name}.done")
        folder.rename(done)
        shutil.rmtree(done)
        return True

    def _run_id(self, first: Event) -> str:
        """The run of this journal; that of a training or study takes in child runs that came before it."""
        fields = first.fields
        run_id = self._own_run(first)
        if fields["stage"] in ABOVE:
            for orphan in self._search({RUN_KEY: fields["key"], PARENT: NO_PARENT}):
                self.client.set_tag(orphan.info.run_id, "mlflow.parentRunId", run_id)
                self.client.delete_tag(orphan.info.run_id, PARENT)
        return run_id

    def _own_run(self, first: Event) -> str:
        """An earlier attempt's run, or a killed one of the same training, or a new one."""
        fields = first.fields
        if runs := self._search({JOURNAL: fields["journal"]}):
            return str(runs[0].info.run_id)
        stage, key = fields["stage"], fields["key"]
        tags = {**fields["tags"], RUN_KEY: key, STAGE: stage, JOURNAL: fields["journal"],
                "mlflow.source.name": _source(stage), "mlflow.source.type": "LOCAL"}
        same = self._search({RUN_KEY: key, STAGE: "tune" if stage in ("tune", "trial") else "train"})
        if stage == "tune":  # a study is continued, and several machines may work on it at a time
            earlier = same
        elif stage == "train":
            earlier = [run for run in same if run.info.status in ("KILLED", "FAILED")]
        elif stage == "member":  # finished or not: a training that is resumed trains a member in one place only
            earlier = self._search({RUN_KEY: key, STAGE: stage, MEMBER: fields["tags"][MEMBER]})
        else:
            earlier = []
        if stage not in ABOVE:
            finished = [run for run in same if run.info.status == "FINISHED"]
            tags |= {"mlflow.parentRunId": (finished or same)[0].info.run_id} if same else {PARENT: NO_PARENT}
        if earlier:
            self._resume(earlier[0].info.run_id, tags)
            return str(earlier[0].info.run_id)
        run = self.client.create_run(self.experiment_id, first.t, tags, run_name=fields["name"])
        return str(run.info.run_id)

    def _resume(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self.client.update_run(run_id, status="RUNNING")

    def _search(self, tags: Mapping[str, str]) -> list[Any]:
        """Runs with all these tags, newest first."""
        text = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        newest_first = ["attributes.start_time DESC"]
        return list(self.client.search_runs([self.experiment_id], text, order_by=newest_first))

    def _send(self, folder: Path, mark: Bookmark, group: list[Event]) -> None:
        event = group[0]
        fields = event.fields
        match event.kind:
            case "begin" | "end":
                pass
            case "metrics":
                self._metrics(mark.run_id, group)
            case "params":
                self._params(mark.run_id, fields)
            case "tags":
                self._tags(mark.run_id, fields["values"])
            case "dataset":
                self.client.log_inputs(mark.run_id, [datasets.dataset_input(**fields)])
            case "artifact":
                self.client.log_artifact(mark.run_id, str(_kept(folder, fields)), fields["folder"] or None)
            case "model":
                if not mark.model_id:
                    mark.model_id = models.create(self.client, self.experiment_id, mark.run_id, fields)
                    mark.save(folder)
                event_id = f"{begin(folder).fields['journal']}:{event.next_offset}"
                kept = _kept(folder, fields)
                models.register(self.client, mark.run_id, mark.model_id, kept, fields, event_id)
            case unknown:
                raise IntegrityError(f"{folder.name}: an event must be of a kind this version knows: "
                                     f"got {unknown!r}; sync with the version that wrote it")

    def _metrics(self, run_id: str, group: list[Event]) -> None:
        from mlflow.entities import Metric

        self.client.log_batch(run_id, metrics=[
            Metric(name, value, event.t, event.fields["step"])
            for event in group for name, value in event.fields["values"].items()])

    def _params(self, run_id: str, fields: Mapping[str, Any]) -> None:
        """Params as they fit; MLflow changes none, so what a resumed training says anew becomes a tag."""
        from mlflow.entities import Param

        have = self.client.get_run(run_id).data.params
        values = {name: _fitting(value) for name, value in fields["values"].items()}
        new = [Param(name, value) for name, value in values.items() if name not in have]
        for i in range(0, len(new), _PAIRS_AT_ONCE):
            self.client.log_batch(run_id, params=new[i:i + _PAIRS_AT_ONCE])
        self.client.log_dict(run_id, fields["whole"], "params.json")
        if changed := {name: value for name, value in values.items() if have.get(name, value) != value}:
            self._tags(run_id, {"kumulus.params_changed": json.dumps(changed, sort_keys=True)})

    def _tags(self, run_id: str, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(name, value) for name, value in values.items()]
        for i in range(0, len(tags), _PAIRS_AT_ONCE):
            self.client.log_batch(run_id, tags=tags[i:i + _PAIRS_AT_ONCE])


def _source(stage: str) -> str:
    """The script or command a run is of."""
    return "kumulus tune" if stage in ("tune", "trial") else f"stages/{'train' if stage == 'member' else stage}.py"


def _grouped(events: Iterator[Event]) -> Iterator[list[Event]]:
    """Events one by one, but neighbouring metrics together as far as one request takes them."""
    group: list[Event] = []
    size = 0
    for event in events:
        # At least 1, so that a row of undefined scores alone never shares a group with another kind of event.
        count = max(1, len(event.fields["values"])) if event.kind == "metrics" else _METRICS_AT_ONCE
        if group and size + count > _METRICS_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(event)
        size += count
    if group:
        yield group


def _last(folder: Path) -> Event:
    """The last whole event."""
    last, *_ = deque(read(folder), maxlen=1)
    return last


def _kept(folder: Path, fields: Mapping[str, Any]) -> Path:
    path = folder / str(fields["file"])
    if (actual := file_sha256(path)) != fields["sha256"]:
        raise IntegrityError(f"{path} must be the file that was recorded, sha256 {fields['sha256']}: "
                             f"got {actual}; delete {folder} to give the run up")
    return path


def _fitting(value: str) -> str:
    """A param's text, cut where MLflow's limit is; the whole is in params.json."""
    if len(value) <= _PARAM_CHARACTERS:
        return value
    note = f" ... ({len(value)} characters, see params.json)"
    return value[:_PARAM_CHARACTERS - len(note)] + note
