"""What git keeps of a project, read without writing: blobs by their id, and every dvc.lock it ever held.

Paths are relative to the project's folder, which may be a folder of a larger repository.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """A file as commits hold it."""

    #: For people: "HEAD", or the newest commit that brought it.
    where: str
    data: bytes


class GitStore:
    """The git repository around a folder; one that is none, or without git, holds nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why git does not answer about a repository that is there, such as one of another owner; "" where it does."""
        is_there = any((folder / ".git").exists() for folder in (self.root, *self.root.parents))
        return self._trouble if is_there and (self.prefix is None or self._trouble) else ""

    @cached_property
    def prefix(self) -> str | None:
        """The project's folder in the repository, "" or "maps/north/"; None where there is no repository."""
        answer = self._git("rev-parse", "--show-prefix")
        return None if answer is None else os.fsdecode(answer).strip()

    def at_head(self, name: str) -> tuple[bytes | None, bool]:
        """A file's bytes in HEAD, None where it has none; and whether git has answered, or there is none to ask."""
        if self.prefix is None:
            return None, not self.trouble
        before, self._trouble = self._trouble, ""
        held, answered = self._contents([f"HEAD:{self.prefix}{name}"])[0], not self._trouble
        self._trouble = self._trouble or before
        return held, answered

    def blobs(self, ids: Iterable[str]) -> Mapping[str, bytes]:
        """{blob id: its bytes} of those that git has, in whatever commit or experiment; no bytes are checked."""
        asked = list(dict.fromkeys(ids))
        if not asked or self.prefix is None:
            return {}
        return {name: data for name, data in zip(asked, self._contents(asked), strict=True) if data is not None}

    def versions(self, name: str) -> Iterator[Held]:
        """All versions of a file: that of HEAD, then the newest first, over all refs, the reflog and experiments."""
        if self.prefix is None:
            return
        listed = self._git("rev-list", "--all", "--reflog", "--full-history", "--", name) or b""
        commits = ["HEAD", *listed.decode().split()]
        seen: set[bytes] = set()
        asked = [f"{commit}:{self.prefix}{name}" for commit in commits]
        for commit, data in zip(commits, self._contents(asked), strict=True):
            if data is not None and data not in seen:
                seen.add(data)
                yield Held(commit if commit == "HEAD" else f"commit {commit[:9]}", data)

    def _contents(self, names: list[str]) -> list[bytes | None]:
        """Bytes behind each name, in one process; None where git has none, as of a name of several lines."""
        asked = ["" if "\n" in name or "\0" in name else name for name in names]
        answer = self._git("cat-file", "--batch", given=b"".join(os.fsencode(f"{name}\n") for name in asked)) or b""
        found: list[bytes | None] = []
        at = 0
        for _ in names:
            end = answer.find(b"\n", at)
            words = answer[at:end].split() if end >= 0 else []
            if len(words) == 3 and words[1] == b"blob" and words[2].isdigit():
                size = int(words[2])
                found.append(answer[end + 1:end + 1 + size])
                at = end + 1 + size + 1
            else:
                found.append(None)
                at = end + 1 if end >= 0 else len(answer)
        return found

    def _git(self, *words: str, given: bytes = b"") -> bytes | None:
        """What git prints; None where it fails or is not there (`trouble` says why)."""
        try:
            done = subprocess.run(["git", "--no-optional-locks", "--literal-pathspecs", *words], cwd=self.root,
                                  input=given, check=True, capture_output=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            self._trouble = str(error)
            return None
        except subprocess.CalledProcessError as error:
            self._trouble = " ".join(os.fsdecode(error.stderr).split())[:200] or f"exit status {error.returncode}"
            return None
        return done.stdout
