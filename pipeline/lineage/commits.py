"""The commit that made a result, found by the bytes of its code, lock and params: commits come after results.

Looked through are the commit on record, what came after it, every ref (also experiments of DVC, a detached HEAD and
what the reflog still knows). Nothing is checked out, and nothing is written.
"""

import functools
import json
import re
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.digests import CODE_ROOT, file_sha256
from pipeline.errors import ParamsError
from pipeline.lineage.git_store import GitStore
from pipeline.lineage.values import contained
from pipeline.params.load import Params, parse
from pipeline.tracking.statement import Statement

PARAMS, LOCK = "params.yaml", "dvc.lock"

#: `key: number` on a line of its own, as people write most numbers.
_NUMBER = re.compile(r"^ *([a-z_][a-z0-9_]*): +(0|[1-9][0-9]*(?:\.[0-9]+)?|0\.[0-9]+) *(?:#.*)?$", re.MULTILINE)

#: Kinds of a statement's resources that a commit must hold, byte for byte.
_CODE = ("code", "lock", "pipeline")


@dataclass(frozen=True)
class Match:
    """A commit with the statement's code, lock and params."""

    commit: str
    #: How people find it: "the recorded commit", "experiment x", "branch main", "one of 12 commits".
    place: str
    #: Whether its dvc.lock names the very artifacts of the statement.
    claims: bool


@dataclass(frozen=True)
class Search:
    """What a search came to: a match, or why there is none."""

    match: Match | None
    #: Commits looked at.
    candidates: int
    #: Files of the statement that no commit holds with these bytes ("params.yaml": no commit has these values).
    never: tuple[str, ...] = ()
    #: The commit that lacks the fewest files, and which these are; "" and () where there is none.
    nearest: str = ""
    differing: tuple[str, ...] = ()
    reason: str = ""


def find_commit(statement: Statement, root: Path) -> Search:
    """Find the commit of a statement.

    Args:
        statement: of an export.
        root: the project's folder in its git repository.
    """
    history = History(root)
    wanted = {r.name: r.git_blob for r in statement.resources if r.kind in _CODE and r.git_blob}
    if not history.prefix_known:
        return Search(None, 0, reason=f"no commit can be looked for in {root.resolve().name}: {history.trouble}; run "
                                      "this in the project's repository, or in a clone of it")
    if not wanted:
        return Search(None, 0, reason="the statement names no code by git's blob ids; export the model again")
    commits = history.commits(statement.commit or "")
    tops = sorted({name.partition("/")[0] for name in wanted})
    entries = history.entries(commits, [*tops, PARAMS, LOCK])
    lacking = {commit: history.lacking(entries[commit], wanted) for commit in commits}
    whole = [commit for commit in commits if not lacking[commit]]
    claiming = _claiming(history, {commit: entries[commit].get(LOCK, "") for commit in whole}, statement)
    texts = history.blobs({entries[commit].get(PARAMS, "") for commit in whole} - {""})
    judge = functools.cache(params_judge(statement.params, _schema_changed(statement)))
    for commit in [*claiming, *whole]:
        if judge(texts.get(entries[commit].get(PARAMS, ""), b"").decode("utf-8", "replace")):
            place = history.place(commit, statement.commit or "", len(commits))
            return Search(Match(commit, place, commit in claiming), len(commits))
    known = history.known(wanted.values())
    never = [name for name, blob in sorted(wanted.items()) if blob not in known]
    nearest = min(commits, key=lambda commit: len(lacking[commit]), default="")
    differing = lacking.get(nearest, ()) or (PARAMS,)
    if whole:
        never.append(PARAMS)
    reason = _reason(never, nearest, differing, len(commits))
    return Search(None, len(commits), tuple(never), nearest, differing, reason)


def _reason(never: Sequence[str], nearest: str, differing: Sequence[str], count: int) -> str:
    if never:
        return (f"{_some(never)} {'was' if len(never) == 1 else 'were'} never committed as this result was made with "
                f"{'it' if len(never) == 1 else 'them'} ({count} commits looked at); commit the state it was made "
                "with, if it is still there, or make the result anew from a commit")
    return (f"no single commit of {count} holds this result's code, lock and params together; {nearest[:9]} comes "
            f"nearest and differs in {_some(differing)}")


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class History:
    """A git repository's commits, asked for in a few processes for all of them; paths are relative to the project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: What git last complained of.
        self.trouble = ""
        self._trees: dict[str, Mapping[str, str]] = {}

    @cached_property
    def prefix(self) -> str:
        """The project's folder in the repository: "" or "maps/north/"."""
        return self._git("rev-parse", "--show-prefix").strip()

    @cached_property
    def prefix_known(self) -> bool:
        """Whether there is a repository that git opens."""
        return bool(self._git("rev-parse", "--git-dir").strip())

    def commits(self, recorded: str) -> list[str]:
        """All commits: the recorded one, those after it (the next first), then the others, the newest first."""
        known = recorded if recorded and self._git("cat-file", "-t", recorded).strip() == "commit" else ""
        after = self._git("rev-list", "--reverse", "--ancestry-path", "--all", f"^{known}").split() if known else []
        everything = self._git("rev-list", "--all", "--reflog").split()
        return list(dict.fromkeys([*([known] if known else []), *after, *everything]))

    def entries(self, commits: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, str]]:
        """{commit: {name: object id}} of files and folders in the project's folder, where they are there."""
        asked = [(commit, name) for commit in commits for name in names]
        answers = self._check(f"{commit}:{self.prefix}{name}" for commit, name in asked)
        found: dict[str, dict[str, str]] = {commit: {} for commit in commits}
        for (commit, name), answer in zip(asked, answers, strict=True):
            if answer:
                found[commit][name] = answer
        return found

    def lacking(self, entries: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Which of the wanted {path: blob} a commit, given by its entries, does not hold."""
        missing = []
        for name, blob in sorted(wanted.items()):
            top, _, rest = name.partition("/")
            held = entries.get(top, "")
            if (self.tree(held).get(rest, "") if rest and held else held) != blob:
                missing.append(name)
        return tuple(missing)

    def tree(self, oid: str) -> Mapping[str, str]:
        """{path: blob} below a tree; many commits share theirs, so each is listed once."""
        if oid not in self._trees:
            lines = (line for line in self._git("ls-tree", "-r", "-z", "--full-tree", oid).split("\0") if line)
            self._trees[oid] = {line.partition("\t")[2]: line.partition("\t")[0].split()[2] for line in lines}
        return self._trees[oid]

    def known(self, blobs: Iterable[str]) -> set[str]:
        """Which blobs the repository has at all, in whatever commit."""
        asked = list(blobs)
        return {blob for blob, answer in zip(asked, self._check(asked), strict=True) if answer}

    def place(self, commit: str, recorded: str, count: int) -> str:
        """How people find a commit."""
        if commit == recorded:
            return "the recorded commit"
        refs = self._git("for-each-ref", "--points-at", commit, "--format=%(refname)").split()
        for start, kind in (("refs/heads/", "branch"), ("refs/tags/", "tag"), ("refs/exps/", "experiment"),
                            ("refs/remotes/", "remote branch")):
            for ref in refs:
                if ref.startswith(start):
                    name = ref.removeprefix(start)
                    return f"{kind} {name.rpartition('/')[2] if kind == 'experiment' else name}"
        return f"one of {count} commits"

    def blobs(self, ids: Iterable[str]) -> Mapping[str, bytes]:
        """{blob id: its bytes} of those that git has, in one process."""
        return GitStore(self.root).blobs(ids)

    def _check(self, objects: Iterable[str]) -> list[str]:
        """Object ids of what is asked for, "" where there is none, in order."""
        text = "".join(f"{name}\n" if "\n" not in name else "\n" for name in objects)
        told = self._git("cat-file", "--batch-check=%(objectname)", given=text) if text else ""
        lines = told.removesuffix("\n").split("\n") if told else []  # splitlines would split names, as at U+2028
        return ["" if line.endswith(" missing") else line.strip() for line in lines]

    def _git(self, *words: str, given: str = "") -> str:
        """What git prints; "" where it fails or is not there (`trouble` says why)."""
        try:
            done = subprocess.run(["git", "--no-optional-locks", *words], cwd=self.root, input=given, check=True,
                                  capture_output=True, text=True, encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError) as error:
            self.trouble = str(error)
            return ""
        except subprocess.CalledProcessError as error:
            self.trouble = " ".join(error.stderr.split())[:200]
            return ""
        return done.stdout


def _claiming(history: History, locks: Mapping[str, str], statement: Statement) -> list[str]:
    """The commits, of {commit: blob of its dvc.lock}, whose lock names every artifact by its digest."""
    digests = [r.md5 for r in statement.of_kind("artifact") if r.md5]
    texts = history.blobs(blob for blob in locks.values() if blob)
    named = {blob for blob, data in texts.items() if digests and all(md5.encode() in data for md5 in digests)}
    return [commit for commit, blob in locks.items() if blob in named]


def _schema_changed(statement: Statement) -> bool:
    """Whether the schema of params.yaml that runs here is another than the statement's, and with it the defaults."""
    return any(not (CODE_ROOT / r.name).is_file() or file_sha256(CODE_ROOT / r.name) != r.sha256
               for r in statement.of_kind("code") if r.name.startswith("pipeline/params/"))


def params_judge(recorded: Mapping[str, Any], lenient: bool = False) -> Callable[[str], bool]:
    """Says of the text of a params.yaml whether it has the recorded values; comments and order do not matter.

    Defaults are filled in by the schema that runs here. Where that is another than the commit's own (`lenient`), or
    refuses the text, each value that the file gives must be the recorded one; a replay asks the commit's own schema for
    the rest. A text in which a number on a line of its own is another is told in well under a millisecond.
    """
    values: dict[str, set[float]] = {}
    for key, value in _numbers(recorded):
        values.setdefault(key, set()).add(value)
    wanted = {_plain(recorded), _plain(_with_defaults(lambda: Params(dict(recorded))))}

    def judge(text: str) -> bool:
        for key, number in _NUMBER.findall(text):
            if key in values and float(number) not in values[key]:
                return False
        found = None if lenient else _with_defaults(lambda: parse(text))
        return _given_in(text, recorded) if found is None else _plain(found) in wanted

    return judge


def _with_defaults(read: Callable[[], Params]) -> dict[str, Any] | None:
    """Params as plain data with defaults filled in; None where the schema refuses them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a setting without effect, of which its author has been told
        try:
            return read().dump()
        except ParamsError:
            return None


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """(last key, number) of every number that is a key's own value."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner) if isinstance(inner, Mapping) else ()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, float(value)


def _given_in(text: str, recorded: Mapping[str, Any]) -> bool:
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return False
    return isinstance(raw, Mapping) and contained(raw, recorded)


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
