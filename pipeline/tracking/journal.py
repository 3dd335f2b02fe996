"""The journal: every event of a run, on disk before anything else hears of it.

One folder a run, `<key>-<stage>-<n>/`: events.jsonl (one JSON object a line: `t` in milliseconds since
1970, `kind`, and the fields of the kind), files/ (copies of artifacts, so that later changes falsify
nothing), delivery.json (the sender's bookmark) and sender.log. The writer holds a lock on events.jsonl,
which dies with it: an unlocked journal without an `end` is a run that was killed. Imports nothing of
mlflow.
"""

import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256

#: Bookmark of the sender, in the run's folder.
DELIVERY_FILE = "delivery.json"

_EVENTS_FILE = "events.jsonl"
_METRIC_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_\-. :/]{0,249}$")
_PARAM_NAME = re.compile(r"^[A-Za-z0-9_\-]+$")


@dataclass(frozen=True)
class Event:
    """One line of a journal."""

    #: Milliseconds since 1970, when it happened.
    t: int
    kind: str
    fields: Mapping[str, Any]
    #: Byte in events.jsonl at which the next event begins.
    next_offset: int


class Journal:
    """A RunLog that writes events to its own new folder. Made by `create`; several threads may call it."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()
        self._files = itertools.count()

    @classmethod
    def create(cls, root: Path, key: str, stage: str, name: str, tags: Mapping[str, str]) -> "Journal":
        """Begin a run: its folder below `root` appears complete with lock and first event."""
        root.mkdir(parents=True, exist_ok=True)
        (root / ".gitignore").write_text("*\n", encoding="utf-8")
        identity = uuid.uuid4().hex
        new = root / f".{identity}.new"
        new.mkdir()
        descriptor = os.open(new / _EVENTS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        journal = cls(new, descriptor)
        journal._append("begin", journal=identity, key=key, stage=stage, name=name, tags=dict(tags))
        for n in itertools.count(1):
            final = root / f"{key[:16]}-{stage}-{n}"
            try:
                new.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue
            journal.folder = final
            return journal
        raise AssertionError("itertools.count never ends")

    def params(self, values: Mapping[str, Any]) -> None:
        """Record the configuration; nested mappings are flattened with dots, and the whole is kept."""
        plain = json.loads(json.dumps(values))
        self._append("params", values=flat(plain), whole=plain)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags under their full names."""
        self._append("tags", values={name: str(value) for name, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record scores of one step, with the time of this call.

        Raises:
            ValueError: a name has characters MLflow refuses.
        """
        if bad := [name for name in values if not _METRIC_NAME.match(name)]:
            raise ValueError(
                f"metric names must be letters, digits and _-. :/ (250 at most): got {bad}; rename them")
        self._append("metrics", values={name: float(value) for name, value in values.items()}, step=int(step))

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Record a data artifact the run has read, by its digest."""
        self._append("dataset", name=name, digest=digest, source=source, context=context)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a finished file; it is copied now.

        Raises:
            IntegrityError: there is no such file.
        """
        self._append("artifact", **self._keep(path), folder=folder)

    def model(
        self, path: Path, name: str, bands: list[str], classes: list[str], tags: Mapping[str, str]
    ) -> None:
        """Record an ONNX segmentation model, to be logged with signature and registered as a version of `name`.

        Raises:
            IntegrityError: there is no such file.
        """
        self._append("model", **self._keep(path), name=name, bands=bands, classes=classes, tags=dict(tags))

    def close(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; nothing can be recorded afterwards."""
        self._append("end", status=status)
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def _keep(self, path: Path) -> dict[str, str]:
        digest = file_sha256(path)
        kept = self.folder / "files" / str(next(self._files)) / path.name
        kept.parent.mkdir(parents=True)
        shutil.copyfile(path, kept)
        return {"file": kept.relative_to(self.folder).as_posix(), "sha256": digest}

    def _append(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"t": int(time.time() * 1000), "kind": kind, **fields}, ensure_ascii=False) + "\n"
        with self._lock:
            if self._descriptor is None:
                raise ValueError(f"a closed journal cannot record: got {kind!r} for {self.folder.name}")
            data = line.encode()
            while data:
                data = data[os.write(self._descriptor, data):]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested plain data as {dotted name: text}; lists, and mappings with names MLflow refuses, as JSON."""
    out: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value and all(_PARAM_NAME.match(k) for k in value):
            out |= flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            out[f"{prefix}{name}"] = text
    return out


def read(folder: Path, offset: int = 0) -> Iterator[Event]:
    """The events from a byte offset on; a last line that was cut off by a kill is left out."""
    with (folder / _EVENTS_FILE).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            fields = json.loads(line)
            yield Event(fields.pop("t"), fields.pop("kind"), fields, offset)


def writer_lives(folder: Path) -> bool:
    """Whether the process that writes the journal still holds it open."""
    with (folder / _EVENTS_FILE).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_over(folder: Path) -> bool:
    """Whether the run has ended in order: its last event is `end`."""
    with (folder / _EVENTS_FILE).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
        lines = file.read().splitlines(keepends=True)
    return bool(lines) and lines[-1].endswith(b"\n") and b'"kind": "end"' in lines[-1]


def begin(folder: Path) -> Event:
    """The first event: journal (its own id), key, stage, name, tags."""
    return next(read(folder))


def members(root: Path, key: str) -> list[Path]:
    """The undelivered runs of a training's members, or of a study's trials, oldest first; found by names alone."""
    found = [folder for stage in ("member", "trial") for folder in root.glob(f"{key[:16]}-{stage}-*")]
    return sorted(found, key=lambda folder: int(folder.name.rpartition("-")[2]))


def journals(root: Path) -> list[Path]:
    """The runs that are not yet delivered, oldest first; call it with the delivery lock held."""
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(folders, key=lambda folder: (begin(folder).t, folder.name))
