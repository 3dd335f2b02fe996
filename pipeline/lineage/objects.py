"""Where bytes are looked for by the digest on record: workspace, DVC's cache and remotes, every export ever committed.

Finding is not checking: what is handed out here agrees with the digest it was asked by, but a place that holds other
bytes under that digest is passed over in silence; `verify` is what reports it.
"""

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.errors import IntegrityError
from pipeline.lineage.dvc_store import FOLDER, DvcLock, DvcStore, entries, is_laid_out, listing, named
from pipeline.lineage.git_store import GitStore
from pipeline.lineage.hashing import may_be_folder
from pipeline.paths import Paths
from pipeline.tracking.names import PROVENANCE_FILE, STATEMENT_FILE
from pipeline.tracking.oids import md5_of
from pipeline.tracking.statement import Statement, loads
from pipeline.tracking.wellformed import provenance_of

T = TypeVar("T")

STATEMENT, PROVENANCE = STATEMENT_FILE, PROVENANCE_FILE

#: `Export.where` of a folder that nothing but the cache lists: no dvc.lock and no run names it.
CACHE_ALONE = "DVC's cache"


@dataclass(frozen=True)
class Export:
    """One models/export that is known here: the folder in the workspace, or a folder in DVC by its id."""

    #: For people: "the workspace", "dvc.lock of HEAD", "dvc.lock of commit 1234abcde", "DVC's run-cache", CACHE_ALONE.
    where: str
    #: DVC's id of the folder, ending in .dir; "" for the workspace.
    oid: str
    #: File, relative to models/export -> md5 ("" in the workspace, where nothing has been hashed).
    files: Mapping[str, str]
    #: Where its files lie under their own names; None where they are objects of DVC.
    folder: Path | None = None


@dataclass(frozen=True)
class FoundStatement:
    """A lineage.json that was found by digest."""

    statement: Statement
    place: str
    export: Export


@dataclass(frozen=True)
class FoundProvenance:
    """A provenance.json that was found by digest."""

    content: Mapping[str, Any]
    place: str


class Objects:
    """The places around one project; in a folder that is no project there are none."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.root = paths.root.resolve()
        self.git = GitStore(self.root)
        self.dvc = DvcStore(self.root)
        #: File that is there but cannot be read -> why.
        self.unread: dict[Path, str] = {}
        self._exports = {remotes: _Kept(self._every_export(remotes)) for remotes in (True, False)}
        self._statements = {remotes: _Kept(self._every_statement(remotes)) for remotes in (True, False)}

    @cached_property
    def lock(self) -> DvcLock:
        """The dvc.lock that lay in the workspace when it was first asked for."""
        data = self._lock_data or b""
        return DvcLock.parse(data) if is_laid_out(data) else DvcLock.of_yaml(data) or DvcLock.parse(data)

    @property
    def lock_is_as_read(self) -> bool:
        """Whether the dvc.lock in the workspace still is the one that `lock` is about."""
        return self.read_file(self.root / "dvc.lock") == self._lock_data

    @cached_property
    def lock_trouble(self) -> str:
        """Why dvc.lock does not say what the workspace holds; "" where it does, or where the project has none."""
        path, data = self.root / "dvc.lock", self._lock_data
        if data is not None:
            if not self.lock.is_whole(data):
                return f"{path} is damaged, or a merge in it is not finished"
            lost = sorted(DvcLock.parse(self._head_lock).outs.keys() - self.lock.outs.keys())
            return f"{path} does not name {lost[0]}, which that of HEAD does" if lost else ""
        if path in self.unread:
            return self.unread[path]
        if self._head_lock:
            return f"{path} is not there, and HEAD has one"
        trouble = self.git.trouble
        return f"{path} is not there, and whether HEAD has one git does not tell: {trouble}" if trouble else ""

    @cached_property
    def _head_lock(self) -> bytes:
        return next(iter(self.git.blobs([f"HEAD:{self.git.prefix or ''}dvc.lock"]).values()), b"")

    @cached_property
    def _lock_data(self) -> bytes | None:
        return self.read_file(self.root / "dvc.lock")

    def read_file(self, path: Path) -> bytes | None:
        """A file's bytes; None where there is none, or where it cannot be read (see `unread`)."""
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            self.pass_over(path, error)
            return None

    def pass_over(self, path: Path, error: OSError) -> None:
        """Note in `unread` that a file is there and cannot be read."""
        self.unread[path] = f"{path} cannot be read ({type(error).__name__}: {error.strerror or error})"

    def exports(self, remotes: bool = True) -> Iterator[Export]:
        """Every models/export known here, each once and looked for once: workspace, dvc.lock, that of HEAD, of history.

        Then those of runs that DVC's run-cache keeps, and what else lies in its cache.

        Args:
            remotes: also ask DVC's remotes for folders that dvc.lock names and the cache lacks.
        """
        yield from self._exports[remotes]

    def _every_export(self, remotes: bool) -> Iterator[Export]:
        if may_be_folder(self.paths.export):
            folder = self.paths.export.resolve()
            files = sorted((Path(parent) / name).relative_to(folder) for parent, _, names in os.walk(folder)
                           for name in names)
            yield Export("the workspace", "", {path.as_posix(): "" for path in files}, folder)
        seen: set[str] = set()
        for where, oid in self._named():
            if oid not in seen and (listed := self.folder(oid, remotes)):
                seen.add(oid)
                yield Export(where, oid, listed)
        for oid in self.dvc.cached_folders():
            if oid not in seen and STATEMENT in (listed := self.folder(oid, remotes=False)):
                yield Export(CACHE_ALONE, oid, listed)

    def _named(self) -> Iterator[tuple[str, str]]:
        """(where, id) of models/export in dvc.lock, in each dvc.lock that git has, and in each run of the run-cache."""
        name = self.paths.export.relative_to(self.paths.root).as_posix()
        found = [("dvc.lock", self.lock.outs.get(name, ""))]
        found += [(f"dvc.lock of {held.where}", named(held.data).get(name, ""))
                  for held in self.git.versions("dvc.lock")]
        yield from ((where, oid) for where, oid in found if oid)
        yield from (("DVC's run-cache", oid) for run in self.dvc.runs() if (oid := named(run).get(name, "")))

    @cached_property
    def recorded(self) -> Mapping[str, frozenset[str]]:
        """{path: ids} that any dvc.lock, or a run of the run-cache, has on record as that very path."""
        found: dict[str, set[str]] = {}
        for data in (self._lock_data or b"", *(held.data for held in self.git.versions("dvc.lock")), *self.dvc.runs()):
            for path, oid in entries(data):
                found.setdefault(path, set()).add(oid)
        return {path: frozenset(oids) for path, oids in found.items()}

    def folder(self, oid: str, remotes: bool = True) -> Mapping[str, str]:
        """{path: md5} of a folder's files by its id; nothing where no place has it whole."""
        data = self.by_md5(oid, remotes) if oid.endswith(FOLDER) else None
        return {} if data is None else listing(data)

    def by_md5(self, oid: str, remotes: bool = True) -> bytes | None:
        """The bytes with DVC's id `oid`, from its cache or else a remote; None where neither has them."""
        wanted = oid.removesuffix(FOLDER)
        if (path := self.dvc.cached(oid)) is not None:
            data = self.read_file(path)
            if data is not None and md5_of(data) == wanted:
                return data
        for remote in self.dvc.remotes if remotes else ():
            kept = remote.read(oid, lambda stream: stream.read())
            if kept is not None and md5_of(kept) == wanted:
                return kept
        return None

    def read(self, export: Export, name: str, remotes: bool = True) -> bytes | None:
        """The bytes of one file of an export; None where they are nowhere."""
        if name not in export.files:
            return None
        if export.folder is not None:
            return self.read_file(export.folder / name)
        return self.by_md5(export.files[name], remotes)

    def statements(self, remotes: bool = True) -> Iterator[FoundStatement]:
        """Every readable lineage.json of `exports()`, each once."""
        yield from self._statements[remotes]

    def _every_statement(self, remotes: bool) -> Iterator[FoundStatement]:
        seen: set[bytes] = set()
        for export in self.exports(remotes):
            data = self.read(export, STATEMENT, remotes)
            if data is None or data in seen:
                continue
            seen.add(data)
            try:
                yield FoundStatement(loads(data), _place(export), export)
            except IntegrityError:
                continue  # damaged, or of an earlier version: none that could be found by what it says

    def find_statement(self, provenance: str, subject: str = "") -> FoundStatement | None:
        """The statement whose provenance.json has that digest.

        Args:
            provenance: sha256 of provenance.json.
            subject: sha256 of a finished file; of several statements one that names it is preferred.

        Returns:
            None where no export known here has it, on this machine or on a remote of DVC.
        """
        first: FoundStatement | None = None
        for found in self.statements():
            if found.statement.provenance == provenance:
                if not subject or subject in found.statement.subjects.values():
                    return found
                first = first or found
        return first

    def find_provenance(self, digest: str) -> FoundProvenance | None:
        """The provenance.json with that sha256; None where no export known here has it."""
        seen: set[str] = set()
        for export in self.exports():
            md5 = export.files.get(PROVENANCE)
            if md5 is None or md5 in seen:
                continue
            seen.add(md5 or export.where)
            data = self.read(export, PROVENANCE)
            if data is None or hashlib.sha256(data).hexdigest() != digest:
                continue
            content = provenance_of(data)
            return None if content is None else FoundProvenance(content, _place(export))
        return None


class _Kept(Generic[T]):
    """What an iterator gives, fetched as it is asked for and kept for all who ask again."""

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._found: list[T] = []
        self._lock = threading.RLock()

    def __iter__(self) -> Iterator[T]:
        for number in itertools.count():
            with self._lock:
                if number == len(self._found):
                    self._found += itertools.islice(self._source, 1)
                if number == len(self._found):
                    return
            yield self._found[number]


def _place(export: Export) -> str:
    return export.where if export.folder is not None or export.where == CACHE_ALONE else f"DVC, by {export.where}"
