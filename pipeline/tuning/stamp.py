"""Whether the data that a study stands on stays as it is while its workers train on it.

Digests say so before a worker begins; they take too long to be asked for at every score, so from then on the file
system is asked: whoever writes a file, or lays another in its place, changes its stamp.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.digests import folder_sha256
from pipeline.errors import ModelError
from pipeline.paths import Paths

#: Parts of a study's basis that are folders below data/.
FOLDERS = ("scenes", "splits")

#: Inode, size in bytes and time of the last change, nanoseconds, by path.
Stamp = Mapping[str, tuple[int, int, int]]


def stamp(paths: Paths) -> Stamp:
    """The stamps of all files of both folders; none of a folder that is not there."""
    found: dict[str, tuple[int, int, int]] = {}
    for folder in (paths.scenes, paths.splits):
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent) / name
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                found[f"data/{folder.name}/{path.relative_to(folder).as_posix()}"] = (
                    status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def moved(before: Stamp, now: Stamp) -> str:
    """The first file that came, went, or was written since; "" if none."""
    return min((name for name in before.keys() | now.keys() if before.get(name) != now.get(name)), default="")


def require(paths: Paths, digests: Mapping[str, str]) -> None:
    """See that the folders still have the digests that the study was opened with.

    Raises:
        ModelError: one has another.
        IntegrityError: one is not there.
    """
    for name, digest in digests.items():
        if folder_sha256(getattr(paths, name)) != digest:
            raise ModelError(f"data/{name} must stay as it is while a study runs: it has changed since; run `kumulus "
                             "tune` again, which begins a new study")
