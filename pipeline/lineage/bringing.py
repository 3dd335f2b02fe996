"""Bring into a replay's clone what git does not hold: the user's files, and the weights that a training started from.

Everything is brought by the digest on record, and a place that holds other bytes is refused. Where the sources are not
here any more (or lie behind a network), data/raw is brought in their place, and the replay begins after it.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from pipeline.digests import file_sha256
from pipeline.errors import IntegrityError
from pipeline.lineage.finder import Finder
from pipeline.lineage.scratch import Scratch
from pipeline.tracking.statement import Resource, Statement
from pipeline.tracking.wellformed import as_list, as_mapping, read_json

RAW, CHECKPOINT = "data/raw", "models/checkpoint"
WEIGHTS, SPEC = "weights.safetensors", "model.json"

#: Where a start lies that cannot lie where params.yaml says: git and DVC leave it alone.
_START = ".kumulus/start"
_TRACKED = ("runs:/", "models:/")


@dataclass(frozen=True)
class Brought:
    """What `dvc repro` is to run in the clone, and what to know of it."""

    #: Options and targets: none for all stages.
    targets: tuple[str, ...] = ()
    #: Whether acquire runs again, or data/raw was brought.
    acquires: bool = True
    #: Why files cannot be equal byte for byte though machine and libraries are: "" where they must be.
    changed: str = ""
    notes: tuple[str, ...] = ()
    #: What is needed and not here, one sentence each: then there is no replay.
    missing: tuple[str, ...] = ()


def bring(statement: Statement, scratch: Scratch, finder: Finder) -> Brought:
    """Lay everything into the clone that the stages read and git does not have."""
    notes: list[str] = []
    sources, lacking = _sources(statement, scratch, finder, notes)
    started, changed = _start(statement, scratch, finder, notes)
    missing = [*lacking, *started, *_encoder(statement, scratch, finder)]
    targets = () if sources else ("--downstream", "refine_labels")
    return Brought(targets, sources, changed, tuple(notes), tuple(missing))


def _sources(statement: Statement, scratch: Scratch, finder: Finder, notes: list[str]) -> tuple[bool, list[str]]:
    """Whether acquire can run, and what is missing where neither sources nor data/raw are here."""
    acquire = statement.params["acquire"]
    source, place = acquire["source"], acquire["inputs"]
    if source == "stac" or acquire["labels_from"] == "osm":
        if not _raw(statement, scratch, finder):
            notes.append("acquire is not replayed: its sources lie behind a network; data/raw was brought by digest")
            return False, []
        notes.append("data/raw is not here by its digests: acquire asks the network for it again")
        return True, []
    lacking = _inputs(statement, place, scratch, finder, notes)
    if source == "synthetic":  # reads none of them; DVC wants the path to be there
        there = scratch.root / place
        if not there.exists() and not _inside(there, scratch):
            return True, [f"acquire.inputs is {place}, outside of the project, and not there; make the folder"]
        if not there.exists():
            there.mkdir(parents=True)
        return True, []
    if not lacking:
        return True, []
    lost = f"{lacking[0]}{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}"
    if raw := _raw(statement, scratch, finder):
        return False, [f"the source {lost} is nowhere with the recorded bytes, and neither is {raw[0]} of {RAW}; bring "
                       f"the file back to {place}, or `dvc pull` the data"]
    notes.append(f"acquire is not replayed: the source {lost} is nowhere with the recorded bytes; {RAW} was brought by "
                 "its digests")
    return False, []


def _inputs(statement: Statement, place: str, scratch: Scratch, finder: Finder, notes: list[str]) -> list[str]:
    """Bring the user's files; names of those that are nowhere with the recorded bytes."""
    lacking = []
    recorded = statement.of_kind("input")
    files = [r for r in recorded if not r.md5.endswith(".dir")]
    if not recorded:
        return [f"{place} (of which no digest is on record)"]
    absolute = PurePosixPath(place).is_absolute()
    for file in files:
        path = f"{place}{file.name.removeprefix('inputs:')}" if absolute else file.name
        here, there = finder.paths.root / path, scratch.root / path
        if here.is_file() and file_sha256(here) != file.sha256:
            notes.append(f"{path} is refused: it has other bytes now than those on record")
        if there.is_file() and file_sha256(there) == file.sha256:  # git has it, or it is read where it lies
            continue
        if absolute or not _inside(there, scratch) or (found := finder.resource(file)) is None:
            lacking.append(path)
        else:
            _lay(found, there, scratch)
    return lacking


def _raw(statement: Statement, scratch: Scratch, finder: Finder) -> list[str]:
    """Bring data/raw by the digests of its files; names of those that are nowhere."""
    files = [file for file in statement.of_kind("file") if file.artifact == RAW]
    lacking = _lay_all(((file.name, finder.resource(file)) for file in files), scratch)
    return lacking if files else [RAW]


def _encoder(statement: Statement, scratch: Scratch, finder: Finder) -> list[str]:
    """Bring a file of an encoder's weights; what is missing."""
    network = statement.params["train"]["network"]
    name, sha256 = network.get("weights", ""), network.get("weights_sha256", "")
    if name in ("", "imagenet"):  # the library's come from its own cache, by their pinned digest
        return []
    found = finder.resource(Resource(name, "start", sha256))
    if found is None:
        return [f"the encoder's weights {name} (sha256 {sha256[:12]}) are not there; copy the file back"]
    if _inside(scratch.root / name, scratch):
        _lay(found, scratch.root / name, scratch)
    return []


def _start(statement: Statement, scratch: Scratch, finder: Finder, notes: list[str]) -> tuple[list[str], str]:
    """Bring the weights that the members started from; what is missing, and what it changes in params.yaml."""
    uri = statement.params["train"]["warm_start"]["uri"]
    if not uri:
        return [], ""
    starts = _recorded_starts(statement, finder)
    found: dict[str, tuple[Path, Path]] = {}
    for member, (weights, spec) in starts.items():
        files = [_find_start(uri, sha256, name, statement, finder)
                 for sha256, name in ((weights, WEIGHTS), (spec, SPEC))]
        if files[0] is None or files[1] is None:
            name = WEIGHTS if files[0] is None else SPEC
            return [f"what member {member} started from is missing: {name} of {uri} (sha256 "
                    f"{(weights if files[0] is None else spec)[:12]}); bring it back to its place, or start the MLflow "
                    "that has it"], ""
        found[member] = files[0], files[1]
    if not starts:
        return [f"what the training started from ({uri}) has no digest on record, or {CHECKPOINT} is not here"], ""
    there, named = scratch.root / uri, uri
    movable = not uri.startswith(_TRACKED) and not PurePosixPath(uri).is_absolute() and _inside(there, scratch)
    if not movable:
        there, named = scratch.root / _START, _START
    _lay_start(there, found, scratch, single=len({weights for weights, _ in starts.values()}) == 1)
    if movable:
        return [], ""
    _set_uri(scratch.root / "params.yaml", named)
    notes.append(f"the start {uri} was brought by its digest to a path of the replay's own")
    return [], f"params.yaml of the replay names {named} as the start in place of {uri}, which all digests show"


def _recorded_starts(statement: Statement, finder: Finder) -> dict[str, tuple[str, str]]:
    """{member: (sha256 of the weights, of model.json)} that each member started from."""
    found = {}
    for file in statement.of_kind("file"):
        if file.artifact == CHECKPOINT and file.name.endswith(f"/{SPEC}") and (path := finder.resource(file)):
            spec = as_mapping(file.name, read_json(path.read_bytes()))
            if ancestry := as_list(f"ancestry of {file.name}", spec.get("ancestry", [])):
                start = as_mapping(f"ancestry of {file.name}", ancestry[0])
                member = PurePosixPath(file.name).parent.name
                found[member] = str(start.get("sha256")), str(start.get("spec_sha256", ""))
    return found


def _find_start(uri: str, sha256: str, name: str, statement: Statement, finder: Finder) -> Path | None:
    """A file of a start: at the configured path, by the start's own statement, in DVC's cache, in MLflow."""
    places = []
    if not uri.startswith(_TRACKED):
        place = finder.paths.repository / uri
        folder = place.parent if place.is_file() else place
        places = [folder / name, *sorted(folder.glob(f"members/*/{name}"))]
    known = [r for ancestor in statement.ancestry if ancestor.statement for r in ancestor.statement.resources
             if r.sha256 == sha256]
    for resource in known or [Resource(name, "start", sha256)]:
        if (found := finder.resource(resource, *places)) is not None:
            return found
    return finder.weights(sha256, name) or _in_mlflow(statement, sha256, name, finder)


def _in_mlflow(statement: Statement, sha256: str, name: str, finder: Finder) -> Path | None:
    """A file among the artifacts of the runs of the trainings that it came from; None where MLflow does not answer."""
    from pipeline.tracking.delivery import RUN_KEY
    from pipeline.tracking.lookup import looking
    from pipeline.tracking.store import RefusedError, UnreachableError

    keys = [statement.run.get("warm_start", {}).get("run_key", ""), *(a.run_key for a in statement.ancestry)]
    try:
        with looking(finder.paths) as mlflow:
            for key in dict.fromkeys(filter(None, keys)):
                for run in mlflow.runs({RUN_KEY: key}):
                    path = mlflow.artifact(run.run_id, f"train/{name}")
                    if path is not None and path.is_file() and file_sha256(path) == sha256:
                        return finder.keep(path, sha256)
    except (UnreachableError, RefusedError):
        return None
    return None


def _lay_start(there: Path, found: Mapping[str, tuple[Path, Path]], scratch: Scratch, single: bool) -> None:
    """As one member's folder where all start from it, else as a checkpoint with a member each."""
    folder = there.parent if there.name == WEIGHTS else there
    for member, files in found.items():
        target = folder if single else folder / "members" / member
        for path, name in zip(files, (WEIGHTS, SPEC), strict=True):
            _lay(path, target / name, scratch)


def _set_uri(params: Path, uri: str) -> None:
    yaml = YAML()
    document: Any = yaml.load(params.read_text(encoding="utf-8"))
    document["train"]["warm_start"]["uri"] = uri
    text = StringIO()
    yaml.dump(document, text)
    params.write_text(text.getvalue(), encoding="utf-8")


def _lay_all(files: Iterable[tuple[str, Path | None]], scratch: Scratch) -> list[str]:
    lacking = []
    for name, path in files:
        if path is None:
            lacking.append(name)
        else:
            _lay(path, scratch.root / name, scratch)
    return lacking


def _lay(path: Path, target: Path, scratch: Scratch) -> None:
    """Copy, and never link: what runs in the clone may write to it; nothing is laid anywhere else."""
    if not _inside(target, scratch):
        raise IntegrityError(f"a replay must lay its files into its own folder: {target} leads out of it, by name or "
                             "by a link of the commit; look at who made the lineage.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _inside(path: Path, scratch: Scratch) -> bool:
    """Whether a path of the clone stays within its scratch folder."""
    return path.resolve().is_relative_to(scratch.folder.resolve())
