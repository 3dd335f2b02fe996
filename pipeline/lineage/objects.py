"""Where bytes are looked for by the digest on record: workspace, DVC's cache and remotes, every export ever committed.

Finding is not checking: what is handed out here agrees with the digest it was asked by, but a place that holds other
bytes under that digest is passed over in silence; `verify` is what reports it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.lineage.dvc_store import FOLDER, DvcLock, DvcStore, listing, named
from pipeline.lineage.git_store import GitStore
from pipeline.paths import Paths
from pipeline.tracking.statement import Statement, parse

STATEMENT, PROVENANCE = "lineage.json", "provenance.json"


@dataclass(frozen=True)
class Export:
    """One models/export that is known here: the folder in the workspace, or a folder in DVC by its id."""

    #: For people: "the workspace", "dvc.lock of HEAD", "dvc.lock of commit 1234abcde", "DVC's cache".
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
    data: bytes
    export: Export


@dataclass(frozen=True)
class FoundProvenance:
    """A provenance.json that was found by digest."""

    content: Mapping[str, Any]
    place: str
    data: bytes


class Objects:
    """The places around one project; in a folder that is no project there are none."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.root = paths.root.resolve()
        self.git = GitStore(self.root)
        self.dvc = DvcStore(self.root)

    @cached_property
    def lock(self) -> DvcLock:
        """The dvc.lock that lies in the workspace now."""
        return DvcLock.read(self.root / "dvc.lock")

    def exports(self, remotes: bool = True) -> Iterator[Export]:
        """Every models/export known here, each once: workspace, dvc.lock, that of HEAD, of history, left in the cache.

        Args:
            remotes: also ask DVC's remotes for folders that dvc.lock names and the cache lacks.
        """
        if self.paths.export.is_dir():
            folder = self.paths.export.resolve()
            yield Export("the workspace", "", {p.relative_to(folder).as_posix(): "" for p in sorted(folder.rglob("*"))
                                               if p.is_file()}, folder)
        seen: set[str] = set()
        for where, oid in self._named:
            if oid not in seen and (files := self.folder(oid, remotes)):
                seen.add(oid)
                yield Export(where, oid, files)
        for oid in self.dvc.cached_folders():
            if oid not in seen and STATEMENT in (files := self.folder(oid, remotes=False)):
                yield Export("DVC's cache", oid, files)

    @cached_property
    def _named(self) -> tuple[tuple[str, str], ...]:
        """(where, id) of models/export in dvc.lock, then in each dvc.lock that git has."""
        name = self.paths.export.relative_to(self.paths.root).as_posix()
        found = [("dvc.lock", self.lock.outs.get(name, ""))]
        found += [(f"dvc.lock of {held.where}", named(held.data).get(name, ""))
                  for held in self.git.versions("dvc.lock")]
        return tuple((where, oid) for where, oid in found if oid)

    def folder(self, oid: str, remotes: bool = True) -> Mapping[str, str]:
        """{path: md5} of a folder's files by its id; nothing where no place has it whole."""
        data = self.by_md5(oid, remotes) if oid.endswith(FOLDER) else None
        return {} if data is None else listing(data)

    def by_md5(self, oid: str, remotes: bool = True) -> bytes | None:
        """The bytes with DVC's id `oid`, from its cache or else a remote; None where neither has them."""
        wanted = oid.removesuffix(FOLDER)
        if (path := self.dvc.cached(oid)) is not None:
            data = path.read_bytes()
            if _md5(data) == wanted:
                return data
        for remote in self.dvc.remotes if remotes else ():
            kept = remote.read(oid, lambda stream: stream.read())
            if kept is not None and _md5(kept) == wanted:
                return kept
        return None

    def read(self, export: Export, name: str, remotes: bool = True) -> bytes | None:
        """The bytes of one file of an export; None where they are nowhere."""
        if name not in export.files:
            return None
        if export.folder is not None:
            return (export.folder / name).read_bytes()
        return self.by_md5(export.files[name], remotes)

    def statements(self, remotes: bool = True) -> Iterator[FoundStatement]:
        """Every readable lineage.json of `exports()`, each once."""
        seen: set[bytes] = set()
        for export in self.exports(remotes):
            data = self.read(export, STATEMENT, remotes)
            if data is None or data in seen:
                continue
            seen.add(data)
            try:
                yield FoundStatement(parse(json.loads(data)), _place(export), data, export)
            except (IntegrityError, ValueError, AttributeError):
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
            if data is not None and hashlib.sha256(data).hexdigest() == digest:
                return FoundProvenance(json.loads(data), _place(export), data)
        return None


def _place(export: Export) -> str:
    return export.where if export.folder is not None or export.where == "DVC's cache" else f"DVC, by {export.where}"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
