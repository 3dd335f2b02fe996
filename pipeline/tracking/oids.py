"""Bytes by the names that git, DVC and Kumulus know them by: blob id, md5 id and sha256; each file is read once.

DVC's id of a file is its md5. That of a folder is the md5, with ".dir" behind it, of a JSON list of its files, sorted
by path: [{"md5": ..., "relpath": ...}, ...] as Python's json.dumps writes it (dvc_data.hashfile.tree.Tree.as_bytes).
Files that .dvcignore names are not in it. Git's id of a file is the sha1 of "blob", its size, a null and its bytes.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from pipeline.cores import available_cores
from pipeline.digests import canonical_sha256
from pipeline.errors import IntegrityError

#: What DVC leaves out without being told.
_NEVER = (".git", ".hg/", ".dvc/")

_PIECE = 1 << 20
_THREADS = min(8, available_cores())


@dataclass(frozen=True)
class FileDigests:
    """One file's digests, hexadecimal."""

    md5: str
    sha256: str


@dataclass(frozen=True)
class ArtifactDigests:
    """A file's or folder's digests: DVC's id, the sha256 that `digests.path_sha256` gives, and those of its files."""

    oid: str
    sha256: str
    #: Path relative to the folder -> digests, sorted; empty for a file.
    files: Mapping[str, FileDigests]


def file_digests(path: Path) -> FileDigests:
    """md5 and sha256 in one pass over the bytes.

    Raises:
        IntegrityError: there is no such file.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                md5.update(piece)
                sha256.update(piece)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise IntegrityError(f"{path} must be a file to be identified by its digest: nothing of the kind is there; run "
                             "`dvc repro` or `dvc pull` first") from error
    return FileDigests(md5.hexdigest(), sha256.hexdigest())


def artifact_digests(path: Path, root: Path) -> ArtifactDigests:
    """The digests of a file, or of a folder and the files in it that DVC counts.

    Args:
        path: the file or folder.
        root: the folder of .dvcignore.

    Raises:
        IntegrityError: there is neither.
    """
    if not path.is_dir():
        digests = file_digests(path)
        return ArtifactDigests(digests.md5, digests.sha256, {})
    names = tracked_files(path, root)
    with ThreadPoolExecutor(_THREADS) as pool:
        files = dict(zip(names, pool.map(file_digests, [path / name for name in names]), strict=True))
    return ArtifactDigests(folder_oid({name: file.md5 for name, file in files.items()}),
                           canonical_sha256({name: file.sha256 for name, file in files.items()}), files)


def folder_oid(files: Mapping[str, str]) -> str:
    """DVC's id of a folder by the md5 of its files, whose paths are relative to it and have forward slashes."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return md5_of(json.dumps(entries, sort_keys=True).encode()) + ".dir"


def tracked_files(folder: Path, root: Path) -> list[str]:
    """Paths of a folder's files, relative to it with forward slashes, sorted, without those that .dvcignore names."""
    ignored = _ignored(root)
    found = []
    for parent, folders, names in os.walk(folder):
        place = Path(parent).absolute()
        folders[:] = [name for name in folders if not ignored(place / name, True)]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in names
                  if not ignored(place / name, False)]
    return sorted(found)


def md5_of(data: bytes) -> str:
    """DVC's id of a file with these bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def git_blob(data: bytes) -> str:
    """Git's id of a file with these bytes (a repository with sha1 ids, no filters)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _ignored(root: Path) -> Callable[[Path, bool], bool]:
    """Whether DVC leaves a path (absolute; a folder or not) out, by .dvcignore in `root` or by its own rule."""
    file, base = root / ".dvcignore", root.absolute()
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        spec = GitIgnoreSpec.from_lines([*_NEVER, *lines])
    except (OSError, ValueError) as error:  # of bytes that are no text and patterns that are none, too
        raise IntegrityError(f"{file} must be readable, as it says which files DVC counts: {error}; see who may read "
                             "it, and what it says") from error

    def matches(path: Path, is_folder: bool) -> bool:
        if not path.is_relative_to(base):
            return False
        return spec.match_file(path.relative_to(base).as_posix() + ("/" if is_folder else ""))

    return matches
