"""What DVC keeps of a project, read without DVC's own locks, databases or writes: dvc.lock, its cache and its remotes.

An object's address is its md5; a folder's, with ".dir" behind it, is that of a JSON list of its files. An object is
looked up here, never trusted: whoever reads it compares it with its address.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.lineage.hashing import may_be_file, may_be_folder

T = TypeVar("T")

FOLDER = ".dir"

#: `- path: models/export`, then `hash: md5` and `md5: <id>` below it.
_ENTRY = re.compile(rb"- path: ([^\n]+)\n(?: +(?!md5:)\w+: [^\n]*\n)*? +md5: '?([0-9a-f]{32}(?:\.dir)?)'?\n")


#: A stage's name, and the name of one of its parts, in the layout in which DVC writes dvc.lock.
_STAGE, _PART = re.compile(rb"^  (\w[^\n:]*):\n", re.MULTILINE), re.compile(rb"^    (\w+):[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class LockedStage:
    """A stage as dvc.lock has it: {path: md5} of deps and outs."""

    deps: Mapping[str, str] = field(default_factory=dict)
    outs: Mapping[str, str] = field(default_factory=dict)
    #: YAML of its params, read when it is asked for.
    params_yaml: bytes = b""

    @cached_property
    def params(self) -> Mapping[str, Mapping[str, Any]]:
        """{file: {key: value}} that it was run with."""
        found = _yaml(self.params_yaml)
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class DvcLock:
    """A dvc.lock."""

    stages: Mapping[str, LockedStage] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> "DvcLock":
        """What it says by the layout in which DVC writes it, which takes a hundredth of reading it as YAML."""
        _, found, body = data.partition(b"stages:\n")
        names = _STAGE.split(body) if found else [b""]
        stages = {}
        for name, block in zip(names[1::2], names[2::2], strict=True):
            parts = _PART.split(block)
            sections = dict(zip(parts[1::2], parts[2::2], strict=True))
            stages[name.decode(errors="replace")] = LockedStage(
                named(sections.get(b"deps", b"")), named(sections.get(b"outs", b"")), sections.get(b"params", b""))
        return cls(stages)

    @classmethod
    def read(cls, path: Path) -> "DvcLock":
        """That of a file; nothing where there is none."""
        return cls.parse(path.read_bytes()) if path.is_file() else cls()

    @classmethod
    def of_yaml(cls, data: bytes) -> "DvcLock | None":
        """What it says in whatever layout; None where it has not the form of a dvc.lock."""
        try:
            return cls({str(name): LockedStage(_ids(stage.get("deps")), _ids(stage.get("outs")), json.dumps(
                stage.get("params") or {}, default=str).encode()) for name, stage in _yaml(data)["stages"].items()})
        except (AttributeError, KeyError, TypeError):
            return None

    def is_whole(self, data: bytes) -> bool:
        """Whether the same bytes, read as YAML, name the same stages, deps and outs: those of a damaged one do not."""
        read = self.of_yaml(data)
        return read is not None and bool(read.stages) and data.endswith(b"\n") and read.parts == self.parts

    @property
    def parts(self) -> Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]:
        """{stage: its deps and outs}."""
        return {name: (stage.deps, stage.outs) for name, stage in self.stages.items()}

    @property
    def outs(self) -> Mapping[str, str]:
        """{path: md5} of the outs of all stages."""
        return {path: md5 for stage in self.stages.values() for path, md5 in stage.outs.items()}


def named(data: bytes) -> Mapping[str, str]:
    """{path: md5} of all deps and outs of a dvc.lock, by the layout in which DVC writes it."""
    return {_path(path): md5.decode() for path, md5 in _ENTRY.findall(data)}


def is_laid_out(data: bytes) -> bool:
    """Whether every path in it has the layout in which DVC writes dvc.lock, so that `DvcLock.parse` sees all of it."""
    return b"\r" not in data and len(_ENTRY.findall(data)) == len(re.findall(rb"\bpath\b['\"]? *:", data))


def _path(text: bytes) -> str:
    """A path as it stands in the layout: without quotes, in the form that names it once."""
    path = text.decode(errors="replace").strip()
    if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"":
        path = path[1:-1].replace("''", "'")
    return posixpath.normpath(path)


def entries(data: bytes) -> frozenset[tuple[str, str]]:
    """(path, md5) of all deps and outs; a path has several where a stage has not followed its dep."""
    return frozenset((_path(path), md5.decode()) for path, md5 in _ENTRY.findall(data))


def listing(data: bytes) -> Mapping[str, str]:
    """{path: md5} of the files that a folder's object lists; nothing where it is no such list."""
    try:
        return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(data)}
    except (ValueError, TypeError, KeyError):
        return {}


class DvcStore:
    """DVC's cache and remotes, as its configuration around a folder names them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: What `config` found wrong; "" where nothing is, or as long as nobody has asked.
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why DVC's configuration is not known, and so neither its remotes nor where its cache is; "" where it is."""
        return f"DVC's configuration cannot be read: {self._trouble}" if not self.config and self._trouble else ""

    @cached_property
    def folder(self) -> Path | None:
        """The .dvc that the project belongs to; None outside of DVC."""
        here = self.root.resolve()
        return next((place / ".dvc" for place in (here, *here.parents) if (place / ".dvc").is_dir()), None)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """DVC's configuration: of the system, the user, the repository and this copy of it."""
        if self.folder is None:
            return {}
        from dvc.config import Config, ConfigError

        try:
            return dict(Config(str(self.folder)))
        except (ConfigError, OSError) as error:
            self._trouble = " ".join(str(error).split())[:200] or type(error).__name__
            return {}

    @cached_property
    def _kept(self) -> Path | None:
        """The folder of the cache and the run-cache; None outside of DVC."""
        return None if self.folder is None else Path(self.config.get("cache", {}).get("dir") or self.folder / "cache")

    @cached_property
    def cache(self) -> Path | None:
        """The folder of the cache's objects; None where there is none."""
        folder = None if self._kept is None else self._kept / "files" / "md5"
        return folder if folder is not None and may_be_folder(folder) else None

    def cached(self, oid: str) -> Path | None:
        """Where the cache keeps an object; None where it does not."""
        if self.cache is None or len(oid) < 3:
            return None
        path = self.cache / oid[:2] / oid[2:]
        return path if may_be_file(path) else None

    def cached_folders(self) -> Iterator[str]:
        """Ids of all folders in the cache."""
        if self.cache is not None:
            for path in _matching(self.cache, f"??/*{FOLDER}"):
                yield path.parent.name + path.name

    def runs(self) -> Iterator[bytes]:
        """What the run-cache keeps of each stage that DVC ran here: a part of a dvc.lock."""
        for path in _matching(self._kept, "runs/??/*/*") if self._kept is not None else ():
            try:
                yield path.read_bytes()
            except OSError:
                continue  # a run that is not known vouches for nothing

    @cached_property
    def remotes(self) -> Sequence["Remote"]:
        """The remotes that are addressed by digest, the default one first."""
        configured = self.config.get("remote", {})
        default = self.config.get("core", {}).get("remote", "")
        names = sorted(configured, key=lambda name: (name != default, name))
        return [Remote(name, self.config) for name in names
                if not (configured[name].get("version_aware") or configured[name].get("worktree"))]


class Remote:
    """One remote of DVC, spoken to through DVC's own file systems."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name, self._config = name, config
        #: Why it did not answer; "" as long as it has. It is not asked again.
        self.failure = ""
        self._missing: set[str] = set()

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from dvc.fs import get_cloud_fs

        kind, settings, path = get_cloud_fs(self._config, name=self.name)
        system = kind(**settings)
        return system, system.join(path, "files", "md5")

    def read(self, oid: str, reader: Callable[[BinaryIO], T]) -> T | None:
        """What `reader` makes of an object's stream; None where there is none, or no answer (see `failure`)."""
        if self.failure or oid in self._missing:
            return None
        try:
            system, base = self._opened
            with system.open(system.join(base, oid[:2], oid[2:]), "rb") as stream:
                return reader(stream)
        except (FileNotFoundError, NotADirectoryError):
            self._missing.add(oid)
        except Exception as error:  # noqa: BLE001 - plugins raise their own: credentials, endpoints, no such plugin
            self.failure = " ".join(str(error).split())[:200] or type(error).__name__
        return None


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The files in a folder, sorted; none where it is closed to this user: what is asked for by its id says so."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _ids(part: Any) -> Mapping[str, str]:
    """{path: md5} of the deps or outs of a stage in a dvc.lock that was read as YAML."""
    return {posixpath.normpath(str(entry["path"])): str(entry["md5"]) for entry in part or () if "md5" in entry}


def _yaml(data: bytes) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(data.decode("utf-8"))
    except (YAMLError, ValueError, RuntimeError):  # no text, a date that is none, nested beyond what Python follows
        return None
