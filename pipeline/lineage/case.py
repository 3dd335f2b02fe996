"""What is verified: the statement that can be relied on, and DVC's own record of the folder it lies in.

lineage.json is the one file that no other file of an export names, so what vouches for it is DVC: the folder
models/export has an id in dvc.lock, behind which stands a list of its files by md5.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.lineage.evidence import Hashes
from pipeline.lineage.identify import Identified
from pipeline.lineage.objects import PROVENANCE, STATEMENT, Export, FoundStatement, Objects
from pipeline.tracking.oids import folder_oid, md5_of, tracked_files
from pipeline.tracking.statement import Statement, loads
from pipeline.tracking.wellformed import provenance_of


@dataclass(frozen=True)
class Beside:
    """A lineage.json as a file, whatever it holds."""

    path: Path
    data: bytes

    @cached_property
    def statement(self) -> Statement | None:
        """What it says; None where it is damaged."""
        try:
            return loads(self.data)
        except IntegrityError:
            return None

    @property
    def md5(self) -> str:
        """DVC's id of its bytes."""
        return md5_of(self.data)


@dataclass(frozen=True)
class Case:
    """What is verified, and against what."""

    identified: Identified
    objects: Objects
    hashes: Hashes
    #: The lineage.json in use as a file; None where it is no file, but an object of DVC or MLflow.
    beside: Beside | None
    #: DVC's record of the export that the statement is part of: its list of files has these very bytes.
    record: Export | None
    #: DVC's record of the folder, which has another lineage.json than lies there: one of the two is wrong.
    rival: Export | None
    #: The statement that the rest is checked by; None where none can be relied on.
    statement: Statement | None
    #: Where that statement is, for people.
    place: str

    @property
    def folder(self) -> Path | None:
        """Where the finished files lie beside the statement; None where they do not."""
        return self.beside.path.parent if self.beside else None

    @property
    def listed(self) -> Mapping[str, str]:
        """{finished file: md5} by DVC's record; {} without one."""
        export = self.record or self.rival
        return export.files if export else {}

    @property
    def oid(self) -> str:
        """DVC's id of the export, "" where it is not known."""
        export = self.record or self.rival
        return export.oid if export else ""

    @cached_property
    def provenance(self) -> Mapping[str, Any] | None:
        """The content of provenance.json with the very digest that the file, or else the statement, names."""
        digest = self.identified.provenance or (self.statement.provenance if self.statement else "")
        if not digest:
            return None
        if self.folder is not None:
            data = self.objects.read_file(self.folder / PROVENANCE)
            if data is not None and hashlib.sha256(data).hexdigest() == digest:
                return provenance_of(data)
        kept = self.objects.find_provenance(digest)
        return kept.content if kept else None


def settle(identified: Identified, objects: Objects, hashes: Hashes) -> Case:
    """Find the lineage.json in use, what DVC has on record of it, and the statement that can be relied on."""
    beside = next(_besides(identified, objects), None)
    if beside is None:
        if (kept := _kept(identified, objects)) is not None:
            return Case(identified, objects, hashes, None, kept.export, None, kept.statement, kept.place)
        return Case(identified, objects, hashes, None, None, None, identified.statement, identified.statement_place)
    record = next((export for export in objects.exports() if export.folder is None
                   and export.files.get(STATEMENT) == beside.md5), None) or _whole(beside, objects, hashes)
    if record is not None or (beside.statement is not None and beside.statement.kind == "prediction"):
        return Case(identified, objects, hashes, beside, record, None, beside.statement, str(beside.path))
    rival = _rival(identified, beside, objects)
    if rival is not None and (good := _of_record(rival, objects)) is not None:
        return Case(identified, objects, hashes, beside, None, rival, good, f"DVC, by {rival.where}")
    return Case(identified, objects, hashes, beside, None, rival, beside.statement or identified.statement,
                str(beside.path))


def _besides(identified: Identified, objects: Objects) -> Iterator[Beside]:
    """The lineage.json that is the target, that names it from its folder or the one above, or in the workspace."""
    file = identified.file
    read = objects.read_file
    if file is not None and (identified.kind == "statement" or file.name.endswith(STATEMENT)) and (
            (data := read(file)) is not None):
        yield Beside(file, data)
    if file is not None and not identified.resource:
        folder = file.absolute().parent
        predicted = [path for path in sorted(folder.glob(f"*_{STATEMENT}"))
                     if file.name.startswith(path.name.removesuffix(STATEMENT))]
        for path, name in ((folder / STATEMENT, file.name), (folder.parent / STATEMENT, f"{folder.name}/{file.name}"),
                           *((path, file.name) for path in predicted)):
            data = read(path)
            if data is not None and _may_name((found := Beside(path, data)).statement, name, identified):
                yield found
    path = objects.paths.export / STATEMENT
    if identified.statement is not None and (data := read(path)) is not None:
        own = Beside(path, data)
        if own.statement is not None and own.statement.raw == identified.statement.raw:
            yield own


def _may_name(stated: Statement | None, name: str, identified: Identified) -> bool:
    """Whether a lineage.json is about a file: it names it or its build, or is too damaged to say."""
    return stated is None or name in stated.subjects or stated.provenance == identified.provenance != ""


def _kept(identified: Identified, objects: Objects) -> FoundStatement | None:
    """The statement as DVC keeps it: the one that was identified, or else one of the same provenance.json."""
    if (wanted := identified.statement) is not None:
        for found in objects.statements():
            if found.export.folder is None and found.statement.raw == wanted.raw:
                return found
        return None
    return objects.find_statement(identified.provenance, identified.sha256) if identified.provenance else None


def _whole(beside: Beside, objects: Objects, hashes: Hashes) -> Export | None:
    """The workspace's own folder as a record, where dvc.lock names all of it by its id but no place has the list."""
    name = objects.paths.export.relative_to(objects.paths.root).as_posix()
    oid = objects.lock.outs.get(name, "")
    if not oid or not _in_workspace(beside, objects) or objects.folder(oid):
        return None
    folder = beside.path.parent
    names = tracked_files(folder, objects.root)
    hashes.read(folder / name for name in names)
    digests = {name: found.md5 for name in names if (found := hashes.of(folder / name)) is not None}
    return Export("dvc.lock", oid, digests) if folder_oid(digests) == oid else None


def _rival(identified: Identified, beside: Beside, objects: Objects) -> Export | None:
    """DVC's record of the very export that `beside` lies in or comes from, with another lineage.json.

    In the workspace it is what dvc.lock names: what lies there is no other export that DVC has on record, or it would
    be the record. Elsewhere it is an export of the same provenance.json that was finished in the same second, since one
    build may be exported twice.
    """
    if _in_workspace(beside, objects):
        name = objects.paths.export.relative_to(objects.paths.root).as_posix()
        oid = objects.lock.outs.get(name, "")
        files = objects.folder(oid) if oid else {}
        if STATEMENT in files:
            return Export("dvc.lock", oid, files)
    for found in objects.statements():
        if found.export.folder is not None:
            continue
        stated = beside.statement
        if stated is None and found.statement.provenance == identified.provenance != "":
            return found.export
        if stated is not None and (stated.provenance, stated.finished) == (
                found.statement.provenance, found.statement.finished):
            return found.export
    return None


def _of_record(export: Export, objects: Objects) -> Statement | None:
    data = objects.read(export, STATEMENT)
    if data is None:
        return None
    try:
        return loads(data)
    except IntegrityError:
        return None


def _in_workspace(beside: Beside, objects: Objects) -> bool:
    return beside.path.resolve() == (objects.paths.export / STATEMENT).resolve()
