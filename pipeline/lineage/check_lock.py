"""What the workspace claims to be: dvc.lock says which build it is about, so what lies there is held against it.

A workspace is contradicted where its dvc.lock names the very artifact on record and the bytes there are unknown: no
other version that DVC or git has on record. A dvc.lock about another build, or bytes of another recorded version (as
after a checkout of git alone), mean that the workspace has moved on.
"""

import hashlib
from functools import cached_property

from pipeline.lineage.case import Case
from pipeline.lineage.dvc_store import LockedStage, named
from pipeline.lineage.evidence import Claim
from pipeline.lineage.hashing import Digests
from pipeline.lineage.resources import READS
from pipeline.tracking.statement import Resource, Statement


class LockClaims:
    """Judges what the workspace holds by the dvc.lock that lies in it."""

    def __init__(self, case: Case, stated: Statement) -> None:
        self._case, self._stated = case, stated
        self._objects = case.objects
        self._lock = case.objects.lock

    def names(self, artifact: Resource) -> bool:
        """Whether dvc.lock names the very artifact on record."""
        return self._lock.outs.get(artifact.name.rstrip("/"), "") == artifact.md5 != ""

    def of_artifact(self, artifact: Resource, file: Resource) -> Claim:
        """The claim of a file in the workspace to belong to an artifact on record."""
        name = file.name.removeprefix(f"{artifact.name}/")

        def claim(found: Digests) -> str:
            return f"dvc.lock names in {artifact.name}" if self.names(artifact) and not self.knows(name, found) else ""

        return claim

    def of_export(self, name: str) -> Claim:
        """The claim of a file in the workspace's models/export to belong to the export on record."""
        return lambda found: "dvc.lock names" if self.stands_for("export") and not self.knows(name, found) else ""

    def of_input(self, whole: Resource, configured: str, file: Resource) -> Claim:
        """The claim of one of the user's files to be what acquire read."""
        deps = self._stage("acquire").deps
        named = whole.md5 in (deps.get(whole.name), deps.get(configured), deps.get(configured.rstrip("/")))

        def claim(found: Digests) -> str:
            name = file.name.removeprefix(f"{whole.name}/")
            held = named and self.stands_for("acquire") and not self.knows(name, found)
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
            paths = self._objects.paths
            name = paths.export.relative_to(paths.root).as_posix()
            return self._lock.outs.get(name, "") == self._case.oid != ""
        made = [r for r in self._stated.of_kind("artifact") if stage in r.stages and r.name in READS["export"]]
        return bool(made) and all(self.names(artifact) for artifact in made)

    def knows(self, name: str, found: Digests | None) -> bool:
        """Whether DVC has a file of this name and these bytes on record in any version of any folder."""
        return found is not None and (name, found.md5) in self._versions

    def _ran(self, stage: str, file: Resource, found: Digests) -> bool:
        """Whether dvc.lock says that a stage made what is on record with the bytes on record, not those found."""
        named = self._stage(stage).deps.get(file.name, "")
        if not named or named == found.md5 or not self.stands_for(stage):
            return False
        recorded = self._blob_md5.get(file.git_blob, "")
        return recorded in ("", named)

    def committed(self, name: str, found: Digests) -> bool:
        """Whether HEAD has a file with these bytes: who committed it has said so."""
        held = next(self._objects.git.versions(name), None)
        return held is not None and held.where == "HEAD" and _md5(held.data) == found.md5

    def _stage(self, stage: str) -> LockedStage:
        return self._lock.stages.get(stage, LockedStage())

    @cached_property
    def _blob_md5(self) -> dict[str, str]:
        ids = [r.git_blob for r in self._stated.resources if r.git_blob]
        return {blob: _md5(data) for blob, data in self._objects.git.blobs(ids).items()}

    @cached_property
    def _versions(self) -> set[tuple[str, str]]:
        """(name, md5) of every file in every folder that the cache lists, and of outs in each committed dvc.lock."""
        found = {(name, md5) for oid in self._objects.dvc.cached_folders()
                 for name, md5 in self._objects.folder(oid, remotes=False).items()}
        for held in self._objects.git.versions("dvc.lock"):
            found |= set(named(held.data).items())
        return found


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
