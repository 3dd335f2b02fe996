"""Where statements are looked for when none lies beside a file: by provenance digest, or by the bytes they name."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.lineage import mlflow_target
from pipeline.lineage.mlflow_target import MlflowTarget
from pipeline.lineage.objects import FoundStatement, Objects
from pipeline.paths import Paths
from pipeline.tracking import statement as statements
from pipeline.tracking.names import STATEMENT_FILE
from pipeline.tracking.statement import Resource, Statement
from pipeline.tracking.wellformed import provenance_of


@dataclass(frozen=True)
class Stated:
    """A statement and where it was found."""

    statement: Statement
    #: For people.
    place: str


class Places:
    """The repository around a target, and its MLflow; where there is neither, nothing is found."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.objects = Objects(paths)
        self._asked: dict[str, MlflowTarget | None] = {}

    def statement(self, provenance: str, sha256: str = "") -> Stated | None:
        """The statement of a build by the digest of its provenance.json, best one that names a file's bytes."""
        if not provenance:
            return None
        found = self.objects.find_statement(provenance, sha256)
        if found is not None:
            return _stated(found, self.paths)
        kept = self._kept(provenance)
        return None if kept is None or kept.statement is None else Stated(kept.statement, kept.place)

    def equal(self, statement: Statement | None) -> Stated | None:
        """The same statement, word for word, where the workspace or DVC has it."""
        if statement is None:
            return None
        found = next((found for found in self.objects.statements() if found.statement.raw == statement.raw), None)
        return None if found is None else _stated(found, self.paths)

    def naming(self, sha256: str) -> tuple[Stated | None, Resource | None]:
        """The first statement that names these bytes as a finished file, or among what its build came from."""
        for found in self.objects.statements():
            resource = next((r for r in found.statement.resources if r.sha256 == sha256), None)
            if resource is not None or sha256 in found.statement.subjects.values():
                return _stated(found, self.paths), resource
        return None, None

    @cached_property
    def workspace(self) -> Stated | None:
        """The statement in models/export of the working folder."""
        file = self.paths.export / STATEMENT_FILE
        try:
            return Stated(statements.read(file), shown(file))
        except IntegrityError:
            return None

    def provenance(self, digest: str, near: Iterable[Path]) -> tuple[Mapping[str, Any] | None, str]:
        """The provenance.json of that digest and where it is: one of the files `near`, or wherever exports are kept.

        Where no bytes have the digest, the first of `near` that can be read is given, whose place says so.
        """
        other: tuple[Mapping[str, Any] | None, str] = (None, "")
        for file in near:
            data = self.objects.read_file(file)
            if data is None or (raw := provenance_of(data)) is None:
                continue
            if hashlib.sha256(data).hexdigest() == digest:
                return raw, shown(file)
            other = other if other[0] is not None else (raw, f"{shown(file)}, which has another digest")
        found = self.objects.find_provenance(digest) if digest else None
        if found is not None:
            return found.content, found.place
        kept = self._kept(digest) if digest else None
        return other if kept is None or kept.provenance_json is None else (kept.provenance_json, kept.place)

    def _kept(self, provenance: str) -> MlflowTarget | None:
        """What MLflow keeps of a build; asked once."""
        if provenance not in self._asked:
            self._asked[provenance] = mlflow_target.kept(provenance, self.paths)
        return self._asked[provenance]


def _stated(found: FoundStatement, paths: Paths) -> Stated:
    in_workspace = found.export.folder is not None
    return Stated(found.statement, shown(paths.export / STATEMENT_FILE) if in_workspace else found.place)


def shown(path: Path) -> str:
    """A path for people: relative where it is below the working folder."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
