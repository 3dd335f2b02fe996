"""Reading MLflow for a trace: runs, model versions and their files, without writing a byte to the store.

A sqlite database is read from a copy in a scratch folder, since mlflow migrates and locks what it opens. A server that
is dead is given up within seconds.
"""

import contextlib
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.paths import Paths
from pipeline.tracking.delivery import RUN_KEY, STAGE
from pipeline.tracking.models import LOGGED, location, version_of
from pipeline.tracking.store import (
    RefusedError,
    Store,
    UnreachableError,
    client,
    locate,
    probe,
    session,
    sqlite_file,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN_ID = re.compile(r"^[0-9a-f]{32}$")
_FILE = "file://"


@dataclass(frozen=True)
class FoundRun:
    """A run of MLflow."""

    run_id: str
    name: str
    #: RUNNING, FINISHED, FAILED or KILLED.
    status: str
    #: train, member, evaluate, export; "" for a run that Kumulus did not make.
    stage: str
    #: The key of the training it belongs to; "" where it has none.
    key: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class FoundVersion:
    """A version of a registered model, with the names that point at it."""

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    #: sha256 of the model's file as MLflow was told it; "" where it was not.
    sha256: str
    run_id: str

    @property
    def shown(self) -> str:
        """`name version 3 (champion)`."""
        return f"{self.name} version {self.version}" + (f" ({', '.join(self.aliases)})" if self.aliases else "")


class Lookup:
    """One MLflow, for reading."""

    def __init__(self, mlflow_client: "MlflowClient", scratch: Path) -> None:
        """Use `looking`, which opens and closes what is behind it."""
        self._client, self._scratch = mlflow_client, scratch

    def version(self, ref: str) -> FoundVersion:
        """The version behind `models:/name/version` or `models:/name@alias`.

        Raises:
            RefusedError: there is none.
        """
        return self._found(version_of(self._client, ref))

    def versions(self, tag: str, value: str, begins: bool = False) -> list[FoundVersion]:
        """All versions of all models that carry a tag of that value (or one that `begins` so), the newest first."""
        found = [v for v in self._client.search_model_versions("")
                 if (v.tags.get(tag, "").startswith(value) if begins else v.tags.get(tag) == value)]
        found.sort(key=lambda version: int(version.creation_timestamp or 0), reverse=True)
        # a search leaves aliases out
        return [self._found(self._client.get_model_version(v.name, v.version)) for v in found]

    def versions_of(self, run_id: str) -> list[FoundVersion]:
        """All versions of all models that were made of a run's files, the newest first, whatever their tags say."""
        found = list(self._client.search_model_versions(f"run_id = '{run_id}'"))
        found.sort(key=lambda version: int(version.creation_timestamp or 0), reverse=True)
        return [self._found(self._client.get_model_version(v.name, v.version)) for v in found]

    def run(self, run_id: str) -> FoundRun:
        """A run by its id.

        Raises:
            RefusedError: there is none.
        """
        return _run(self._client.get_run(run_id))

    def holder(self, name: str, alias: str) -> FoundVersion | None:
        """The version of a model that has an alias; None where none has.

        Raises:
            RefusedError: there is no such model.
        """
        number = self._client.get_registered_model(name).aliases.get(alias)
        return None if number is None else self._found(self._client.get_model_version(name, number))

    def known_run(self, run_id: str, deleted: bool = False) -> FoundRun | None:
        """A run by its id, also one that was `deleted` if asked for; None where there is none."""
        from mlflow.entities import ViewType

        found = self._search(f"attributes.run_id = '{run_id}'", ViewType.ALL if deleted else ViewType.ACTIVE_ONLY)
        return found[0] if found else None

    def runs(self, tags: Mapping[str, str]) -> list[FoundRun]:
        """All runs with these values of tags, the newest first."""
        return self._search(" and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items()))

    def _search(self, text: str, view: int = 1) -> list[FoundRun]:
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments(view_type=view)]
        found = self._client.search_runs(experiments, text, view, order_by=["attributes.start_time DESC"])
        return [_run(run) for run in found]

    def artifact(self, run_id: str, path: str) -> Path | None:
        """A run's file: where it lies on this machine, or a copy in the scratch folder; None where it has none."""
        folder, name = path.rpartition("/")[0], path.rpartition("/")[2]
        if path not in {item.path for item in self._client.list_artifacts(run_id, folder)}:
            return None
        root = str(self._client.get_run(run_id).info.artifact_uri)
        if local := _local(root):
            return local / path
        target = self._scratch / run_id / folder
        target.mkdir(parents=True, exist_ok=True)
        self._client.download_artifacts(run_id, path, str(self._scratch / run_id))
        return target / name

    def model_file(self, ref: str) -> Path:
        """The .onnx file of a version: where it lies on this machine, or a copy in the scratch folder.

        Raises:
            RefusedError: it holds not exactly one.
        """
        where = location(self._client, ref)
        folder = _local(where) or self._download(where)
        files = sorted(folder.rglob("*.onnx"))
        if len(files) != 1:
            raise RefusedError(f"{ref} holds {len(files)} .onnx files, and a model of Kumulus has one")
        return files[0]

    def stays(self, file: Path) -> bool:
        """Whether a file is still there when the block ends, because it lies in the store itself."""
        return not file.is_relative_to(self._scratch)

    def _download(self, where: str) -> Path:
        from mlflow.artifacts import download_artifacts

        target = Path(tempfile.mkdtemp(dir=self._scratch))
        return Path(download_artifacts(where, dst_path=str(target), tracking_uri=self._client.tracking_uri))

    def _found(self, version: Any) -> FoundVersion:
        sha256, source = "", str(version.source)
        if source.startswith(LOGGED) and "/" not in source.removeprefix(LOGGED):  # a copied version has another
            sha256 = str(self._client.get_logged_model(source.removeprefix(LOGGED)).tags.get("sha256", ""))
        return FoundVersion(str(version.name), str(version.version), tuple(sorted(version.aliases)),
                            dict(version.tags), sha256, str(version.run_id or ""))


@contextlib.contextmanager
def looking(paths: Paths) -> Iterator[Lookup]:
    """Open the MLflow that this repository uses, for reading; what was downloaded goes when the block ends.

    Raises:
        UnreachableError: it does not answer within seconds, or there is none.
        RefusedError: it answers, and does not know what is asked.
    """
    store = locate(paths)
    with tempfile.TemporaryDirectory(prefix="kumulus-mlflow-") as name:
        scratch = Path(name)
        copied = _copied(store, scratch)
        probe(copied)
        opened = client(copied)
        with session(copied):
            yield Lookup(opened, scratch)


def is_run_id(text: str) -> bool:
    """Whether it reads like the id of a run in MLflow."""
    return _RUN_ID.match(text) is not None


def _copied(store: Store, scratch: Path) -> Store:
    """The store itself, or one on a copy of its sqlite database."""
    if (file := sqlite_file(store.uri)) is None:
        return store
    if not file.is_file():
        raise UnreachableError(f"there is no {file}")
    target = scratch / "mlflow.db"
    try:
        source = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        raise UnreachableError(f"{file} cannot be read: {error}") from error
    return Store(f"sqlite:///{target}", store.artifacts)


def _run(run: Any) -> FoundRun:
    tags = dict(run.data.tags)
    return FoundRun(str(run.info.run_id), str(run.info.run_name or ""), str(run.info.status),
                    tags.get(STAGE, ""), tags.get(RUN_KEY, ""), tags)


def _local(uri: str) -> Path | None:
    """The folder that an artifact URI means on this machine; None where it is not on it."""
    if uri.startswith("/"):
        return Path(uri)
    return Path(uri.removeprefix(_FILE)) if uri.startswith(_FILE) else None
