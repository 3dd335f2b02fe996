"""Files by the digests that a statement records: whatever place has these very bytes, and no other ones.

Tried are the place where they should lie, DVC's cache, git, and DVC's remotes. What lies under no name on this machine
(an object of git or of a remote) is written into a scratch folder first.
"""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pipeline.digests import file_sha256
from pipeline.lineage.objects import Objects
from pipeline.paths import Paths
from pipeline.tracking.statement import Resource

#: Bytes that are copied at a time.
_PIECE = 1 << 20


class Finder:
    """Looks for files around a project and beside a result."""

    def __init__(self, paths: Paths, scratch: Path, export: Path | None = None) -> None:
        """Look for files.

        Args:
            paths: of the project.
            scratch: an own folder that lives as long as what is found is used.
            export: a folder that may hold an export, such as the one a traced file lies in.
        """
        self.paths = paths
        self.objects = Objects(paths)
        self._scratch, self._export = scratch, export

    def resource(self, resource: Resource, *places: Path) -> Path | None:
        """A file with a resource's sha256; None where no place has it.

        Args:
            resource: what is looked for.
            places: where it may lie, beside its name in the workspace.
        """
        return self._first(resource.sha256, [*places, self.paths.root / resource.name], resource.md5, resource.git_blob)

    def subject(self, name: str, sha256: str) -> Path | None:
        """A finished file of an export by its name there; None where no place has it."""
        folders = [folder for folder in (self._export, self.paths.export) if folder is not None]
        if (found := self._first(sha256, [folder / name for folder in folders])) is not None:
            return found
        tried = set()
        for export in self.objects.exports():
            md5 = export.files.get(name, "")
            if md5 and md5 not in tried:
                tried.add(md5)
                if (found := self._first(sha256, [], md5)) is not None:
                    return found
        return None

    def weights(self, sha256: str, name: str = "") -> Path | None:
        """A file of a training's members by its sha256 alone, among all folders in DVC's cache; None where none is."""
        tried = set()
        for oid in self.objects.dvc.cached_folders():
            for path, md5 in self.objects.folder(oid, remotes=False).items():
                if md5 not in tried and path.startswith("members/") and path.endswith(name):
                    tried.add(md5)
                    if (found := self._first(sha256, [], md5, remotes=False)) is not None:
                        return found
        return None

    def _first(self, sha256: str, places: list[Path], md5: str = "", git_blob: str = "",
               remotes: bool = True) -> Path | None:
        for place in self._places(places, md5, git_blob, remotes):
            if self._has(place, sha256):
                return place
        return None

    def _has(self, place: Path, sha256: str) -> bool:
        """Whether a file has these bytes; one that this user cannot read is passed over (see `Objects.unread`)."""
        try:
            return place.is_file() and file_sha256(place) == sha256
        except OSError as error:
            self.objects.pass_over(place, error)
            return False

    def _places(self, places: list[Path], md5: str, git_blob: str, remotes: bool) -> Iterator[Path]:
        yield from places
        if md5 and (cached := self.objects.dvc.cached(md5)) is not None:
            yield cached
        if git_blob:
            yield from (self._streamed(git_blob, BytesIO(data)) for data in self.objects.git.blobs([git_blob]).values())
        if md5 and remotes:
            for remote in self.objects.dvc.remotes:
                if (kept := remote.read(md5, lambda stream: self._streamed(md5, stream))) is not None:
                    yield kept

    def _streamed(self, name: str, stream: BinaryIO) -> Path:
        """A stream's bytes as a file; a scene of gigabytes is never in memory as a whole."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / name
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file, _PIECE)
        return path

    def keep(self, path: Path, name: str) -> Path:
        """A copy in the scratch folder, of a file that will not stay where it is."""
        with path.open("rb") as stream:
            return self._streamed(name, stream)
