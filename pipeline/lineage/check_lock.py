"""What the workspace claims to be: dvc.lock says which build it is about, so what lies there is held against it.

A workspace is contradicted where its dvc.lock names the very artifact on record and other bytes lie there. It has
moved on where dvc.lock is about another build, or where what lies at that path is, as a whole, another version that a
dvc.lock in git or DVC's run-cache has on record of that very path (as after a checkout of git alone).
"""

import posixpath
from functools import cached_property
from pathlib import Path

from pipeline.lineage.case import Case
from pipeline.lineage.dvc_store import LockedStage
from pipeline.lineage.evidence import Claim
from pipeline.lineage.hashing import Digests
from pipeline.lineage.resources import READS
from pipeline.tracking.oids import folder_oid, md5_of, tracked_files
from pipeline.tracking.statement import Resource, Statement


class LockClaims:
    """Judges what the workspace holds by the dvc.lock that lies in it."""

    def __init__(self, case: Case, stated: Statement) -> None:
        self._case, self._stated = case, stated
        self._objects = case.objects
        self._lock = case.objects.lock
        self._here: dict[str, str] = {}

    def names(self, artifact: Resource) -> bool:
        """Whether dvc.lock names the very artifact on record."""
        return self._lock.outs.get(artifact.name.rstrip("/"), "") == artifact.md5 != ""

    def of_artifact(self, artifact: Resource, file: Resource) -> Claim:
        """The claim of a file in the workspace to belong to an artifact on record."""
        reason = "dvc.lock names" if artifact is file else f"dvc.lock names in {artifact.name}"
        return lambda _: reason if self.claims(artifact) else ""

    def claims(self, artifact: Resource) -> bool:
        """Whether the workspace claims to hold an artifact on record: dvc.lock names it, and it has not moved on."""
        return self.names(artifact) and not self.has_moved_on(artifact.name, artifact.md5)

    def of_export(self) -> Claim:
        """The claim of a file in the workspace's models/export to belong to the export on record."""
        return lambda _: "dvc.lock names" if self.claims_export else ""

    @property
    def claims_export(self) -> bool:
        """Whether the workspace claims to hold the export on record."""
        return self.stands_for("export") and not self.has_moved_on(self.export, self._case.oid)

    @property
    def export(self) -> str:
        """The path of models/export as dvc.lock has it."""
        paths = self._objects.paths
        return paths.export.relative_to(paths.root).as_posix()

    def of_input(self, whole: Resource, configured: str, file: Resource) -> Claim:
        """The claim of one of the user's files to be what acquire read."""
        deps = self._stage("acquire").deps
        path = next((path for path in map(posixpath.normpath, (whole.name, configured))
                     if deps.get(path, "") == whole.md5 != ""), "")

        def claim(found: Digests) -> str:
            held = path and self.stands_for("acquire") and not self.has_moved_on(path, whole.md5)
            return "dvc.lock names as what acquire read" if held and not self.committed(file.name, found) else ""

        return claim

    def of_code(self, file: Resource) -> Claim:
        """The claim of a code file in the workspace to have made the artifacts on record."""

        def claim(found: Digests) -> str:
            stages = [stage for stage in self._lock.stages if self._ran(stage, file, found)]
            if not stages or self.committed(file.name, found):
                return ""
            return f"dvc.lock names as what made the result of {', '.join(stages)}"

        return claim

    def stands_for(self, stage: str) -> bool:
        """Whether dvc.lock says that a stage made the very artifacts on record, as far as others read them."""
        if stage == "export":
            return self._lock.outs.get(self.export, "") == self._case.oid != ""
        made = [r for r in self._stated.of_kind("artifact") if stage in r.stages and r.name in READS["export"]]
        return bool(made) and all(self.names(artifact) for artifact in made)

    def has_moved_on(self, path: str, oid: str) -> bool:
        """Whether what lies at a path is, as a whole, another version of that path than `oid` that is on record."""
        path = path.rstrip("/")
        if path not in self._here:
            self._here[path] = self._oid(self._objects.root / path)
        return self._here[path] not in ("", oid) and self._here[path] in self._objects.recorded.get(path, ())

    def _oid(self, place: Path) -> str:
        """DVC's id of a file or folder as it lies there; "" where part of it cannot be read."""
        hashes = self._case.hashes
        if not place.is_dir():
            found = hashes.of(place)
            return found.md5 if found is not None else ""
        names = tracked_files(place, self._objects.root)
        hashes.read(place / name for name in names)
        digests = {name: found.md5 for name in names if (found := hashes.of(place / name)) is not None}
        return folder_oid(digests) if all(digests.values()) else ""

    def _ran(self, stage: str, file: Resource, found: Digests) -> bool:
        """Whether dvc.lock says that a stage made what is on record with the bytes on record, not those found."""
        named = self._stage(stage).deps.get(file.name, "")
        if not named or named == found.md5 or not self.stands_for(stage):
            return False
        recorded = self._blob_md5.get(file.git_blob, "")
        return recorded in ("", named)

    def committed(self, name: str, found: Digests) -> bool:
        """Whether HEAD has a file with these bytes: who committed it has said so. A git that is silent may have it."""
        held, answered = self._objects.git.at_head(name)
        crlf = (held or b"").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # as core.autocrlf checks it out
        return not answered or (held is not None and found.md5 in (md5_of(held), md5_of(crlf)))

    def _stage(self, stage: str) -> LockedStage:
        return self._lock.stages.get(stage, LockedStage())

    @cached_property
    def _blob_md5(self) -> dict[str, str]:
        ids = [r.git_blob for r in self._stated.resources if r.git_blob]
        return {blob: md5_of(data) for blob, data in self._objects.git.blobs(ids).items()}
