"""Judging bytes: what is on record, the places that may hold it, and what each of them turns out to hold."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.lineage.git_store import GitStore
from pipeline.lineage.hashing import Digests, hash_files, hash_stream
from pipeline.lineage.objects import Objects
from pipeline.lineage.verdicts import Link, Verdict
from pipeline.tracking.oids import git_blob

#: Why a place claims to hold what is on record, given what it holds: "" where it does not, and has moved on.
Claim = Callable[[Digests], str]

#: Remotes are asked for this many objects at a time.
_STREAMS = 8


@dataclass(frozen=True)
class Place:
    """A file that may hold what is on record."""

    label: str
    path: Path
    claim: Claim


@dataclass(frozen=True)
class Item:
    """One file on record: its digests and the places to look at, the most telling first."""

    node: str
    name: str
    sha256: str
    md5: str = ""
    git_blob: str = ""
    places: tuple[Place, ...] = ()
    #: Whether its absence makes the whole unverifiable.
    counts: bool = True
    #: Whether older versions of the file of this name are looked for in git.
    in_history: bool = False
    #: What to do where it is nowhere.
    remedy: str = "`dvc pull`, or run this where it was made"

    def same(self, found: Digests) -> bool:
        """Whether bytes with these digests are those on record."""
        return found.sha256 == self.sha256 and self.md5 in ("", found.md5)


class Hashes:
    """Digests of files, each computed once in this process, by whatever names it is asked for."""

    def __init__(self, progress: bool) -> None:
        self._progress = progress
        #: By the path that a name leads to: relative, absolute and linked names of one file are one.
        self._found: dict[Path, Digests | None] = {}

    def read(self, paths: Iterable[Path]) -> None:
        """Hash what has not been hashed yet."""
        new = [path for path in dict.fromkeys(map(_led_to, paths)) if path not in self._found]
        found = hash_files(new, self._progress) if new else {}
        self._found |= {path: found.get(path) for path in new}

    def of(self, path: Path) -> Digests | None:
        """A file's digests; None where there is no file."""
        if (place := _led_to(path)) not in self._found:
            self.read([place])
        return self._found[place]

    @property
    def read_so_far(self) -> tuple[int, int]:
        """Number and size in bytes of the different files read: two names of one file count once."""
        inodes: dict[tuple[int, int], int] = {}
        for path, digests in self._found.items():
            if digests is None or digests.problem:
                continue
            try:
                state = path.stat()
            except OSError:
                continue  # gone since, or its folder is closed by now
            inodes[state.st_dev, state.st_ino] = digests.size
        return len(inodes), sum(inodes.values())


def _led_to(path: Path) -> Path:
    """The path itself behind links; unlike with Path.resolve, a circle of links is no error: reading it says why."""
    return Path(os.path.realpath(path))


def always(reason: str) -> Claim:
    """The claim of a place that always makes it."""
    return lambda _: reason


def judge(items: Sequence[Item], objects: Objects, hashes: Hashes) -> dict[Item, list[Link]]:
    """The links of each item: one for each place that holds something, and one more where no place holds it.

    Local places are all read. Git is asked by blob id; remotes of DVC, by streams, only for what no local place has.
    """
    hashes.read(place.path for item in items for place in item.places)
    blobs = objects.git.blobs(item.git_blob for item in items if item.git_blob)
    found = {item: [*_local(item, hashes), *_git(item, blobs.get(item.git_blob))] for item in items}
    missing = [item for item in items if not _holds(found[item])]
    for item in missing:
        found[item] += _history(item, objects.git)
    missing = [item for item in missing if item.md5 and not _holds(found[item])]
    if missing and objects.dvc.remotes:
        with ThreadPoolExecutor(_STREAMS) as pool:
            for item, links in zip(missing, pool.map(lambda item: list(_remote(item, objects)), missing), strict=True):
                found[item] += links
    for item, links in found.items():
        if not any(link.verdict in (Verdict.VERIFIED, Verdict.CONTRADICTED) for link in links):
            links.append(_absent(item, objects, [one.message for one in links if one.verdict is Verdict.ABSENT]))
    return found


def link(item: Item, place: str, verdict: Verdict, found: str, message: str) -> Link:
    """A link of an item, with the digest on record."""
    return Link(item.node, item.name, place, verdict, item.sha256 or item.md5, found, message, item.counts)


def _holds(links: Iterable[Link]) -> bool:
    return any(one.verdict is Verdict.VERIFIED for one in links)


def _local(item: Item, hashes: Hashes) -> Iterator[Link]:
    for place in item.places:
        found = hashes.of(place.path)
        if found is None:
            continue
        if found.problem:
            # never counts by itself: another place may have it, and where none has, _absent says why
            yield Link(item.node, item.name, place.label, Verdict.ABSENT, item.sha256, "",
                       f"{place.path} cannot be read ({found.problem})", counts=False)
        elif item.same(found):
            yield link(item, place.label, Verdict.VERIFIED, found.sha256, f"{item.name} is as recorded")
        elif reason := place.claim(found):
            yield link(item, place.label, Verdict.CONTRADICTED, found.sha256,
                       f"{item.name} must be what {reason}: {place.path} has sha256 {found.sha256}, not "
                       f"{item.sha256}; restore it, or find out who changed it")
        else:
            yield link(item, place.label, Verdict.MOVED_ON, found.sha256,
                       f"{item.name} is another version here by now, as the records beside it say")


def _git(item: Item, data: bytes | None) -> Iterator[Link]:
    if data is None:
        return
    if git_blob(data) != item.git_blob:
        yield link(item, "git", Verdict.CONTRADICTED, git_blob(data),
                   f"{item.name} must be what git keeps as blob {item.git_blob}: the object has other bytes, of blob "
                   f"{git_blob(data)}; restore it from another clone (`git fsck` tells more)")
    elif (sha256 := hashlib.sha256(data).hexdigest()) != item.sha256:
        yield link(item, "lineage.json", Verdict.CONTRADICTED, sha256,
                   f"{item.name} must be one file by all its digests: lineage.json names blob {item.git_blob}, whose "
                   f"sha256 is {sha256}, and sha256 {item.sha256}; take lineage.json from where it came anew")
    else:
        yield link(item, "git", Verdict.VERIFIED, item.sha256, f"{item.name} is as recorded, blob {item.git_blob[:9]}")


def _history(item: Item, git: GitStore) -> Iterator[Link]:
    """A version in git's history, for files that are on record without a blob id."""
    if not item.in_history:
        return
    for held in git.versions(item.name):
        if hashlib.sha256(held.data).hexdigest() == item.sha256:
            yield link(item, f"git, {held.where}", Verdict.VERIFIED, item.sha256, f"{item.name} is as recorded")
            return


def _remote(item: Item, objects: Objects) -> Iterator[Link]:
    for remote in objects.dvc.remotes:
        if (found := remote.read(item.md5, hash_stream)) is None:
            continue
        if item.same(found):
            yield link(item, f"remote {remote.name}", Verdict.VERIFIED, found.sha256, f"{item.name} is as recorded")
            return
        yield link(item, f"remote {remote.name}", Verdict.CONTRADICTED, found.sha256,
                   f"{item.name} must be what remote {remote.name} keeps under {item.md5}: the object has md5 "
                   f"{found.md5}; `dvc push` it anew from where it is whole")


def _absent(item: Item, objects: Objects, unread: list[str]) -> Link:
    silent = [remote for remote in objects.dvc.remotes if remote.failure]
    asked = [*unread, *(f"remote {remote.name} did not answer: {remote.failure}" for remote in silent)]
    if item.git_blob and (trouble := objects.git.trouble):
        asked.append(f"git did not answer: {trouble}")
    if not item.git_blob and (trouble := objects.dvc.trouble):
        asked.append(trouble)
    return link(item, "", Verdict.ABSENT, "",
                f"{item.name} with sha256 {item.sha256} must be somewhere to be checked: no place looked at has it"
                + (f" ({'; '.join(asked)})" if asked else "") + f"; {item.remedy}")
