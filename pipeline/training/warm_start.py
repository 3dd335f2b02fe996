"""Where a training starts from other weights: found, pinned, and given to the members that may start from them.

What decides the result is train.warm_start.sha256: the place may hold other weights tomorrow, and then the training is
refused. How they are matched, model.json beside them decides; its digest is part of the resume state's fingerprint and
of what is recorded. A start that has learnt from ground which the new member holds out would leak it, and is refused.
"""

import json
import shutil
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.digests import canonical_sha256, file_sha256, folder_sha256
from pipeline.errors import ModelError
from pipeline.networks.spec import Ancestor, ModelSpec
from pipeline.params.train import TrainParams
from pipeline.paths import Paths
from pipeline.training.plan import Member
from pipeline.training.resume import ResumeStore

WEIGHTS, SPEC = "weights.safetensors", "model.json"

#: How addresses begin that the tracking fetches.
TRACKED = ("runs:/", "models:/")


@dataclass(frozen=True)
class Start:
    """A member to start from."""

    folder: Path
    #: Itself, then what it had started from, and so on back.
    ancestry: tuple[Ancestor, ...]
    #: Key of the training it came from; "" where that is not known.
    run_key: str = ""

    @property
    def sha256(self) -> str:
        """Of its weights."""
        return self.ancestry[0].sha256


@dataclass(frozen=True)
class _Found:
    """A member that may be started from, by its model.json."""

    folder: Path
    spec: ModelSpec
    spec_sha256: str

    @property
    def earlier(self) -> tuple[Ancestor, ...]:
        """What it had itself started from; of a start of before this was recorded no more than the weights."""
        unknown = (Ancestor(sha256=self.spec.warm_start),) if self.spec.warm_start else ()
        return self.spec.ancestry or unknown


def open_starts(train: TrainParams, members: Sequence[Member], paths: Paths, kept: ResumeStore,
                fetch: Callable[[str, Path, Paths], None]) -> list[Start]:
    """The start of each member, checked against the pinned digest; none where weights are drawn.

    A checkpoint of one member starts them all. Of several, each member starts from the one of its own seed and fold;
    where these differ, from one that held out its fold, if the split is the same; else from the one of its number.

    Args:
        train: its `warm_start`.
        members: all that are trained.
        paths: relative paths are relative to its repository, under `dvc exp run --temp` the real one.
        kept: the resume state; what came from MLflow stays there, and a killed training does not fetch it again.
        fetch: brings the checkpoint of a `runs:/` or `models:/` address into a folder: members/<i>/ and run.json.

    Raises:
        ModelError: there is no such checkpoint, too few members in it, its digest is not the pinned one, or a start has
            seen the ground that its member holds out.
    """
    params = train.warm_start
    if not params.uri:
        return []
    if train.network.weights:
        warnings.warn("train.network.weights has no effect on layers that train.warm_start replaces; leave one of them "
                      "out", stacklevel=2)
    if not params.uri.startswith(TRACKED):
        return _checked(train, members, paths, _local(params.uri, paths))
    place = kept.folder / "start"
    if not place.exists():
        fetch(params.uri, place, paths)
    try:
        return _checked(train, members, paths, place)
    except ModelError:
        shutil.rmtree(place)
        raise


def specs_sha256(train: TrainParams, paths: Paths) -> str:
    """One digest of the model.json files at the path to start from, which decide how its weights are matched.

    "" without a start, and where MLflow has it: what is fetched stays with the resume state.

    Raises:
        ModelError: there is no such checkpoint.
    """
    uri = train.warm_start.uri
    if not uri or uri.startswith(TRACKED):
        return ""
    return canonical_sha256([_found(folder).spec_sha256 for folder in _members(_local(uri, paths), uri)])


def _checked(train: TrainParams, members: Sequence[Member], paths: Paths, place: Path) -> list[Start]:
    """The starts at a place, once their digest and the ground they have seen are found to be in order."""
    params = train.warm_start
    split = folder_sha256(paths.splits)
    chosen = _chosen([_found(folder) for folder in _members(place, params.uri)], members, split, params.uri)
    digests = {found.folder: file_sha256(found.folder / WEIGHTS) for found in chosen}
    pins = [digests[found.folder] for found in chosen]
    actual = pins[0] if len(set(pins)) == 1 else canonical_sha256(pins)
    if params.sha256 != actual:
        pinned = f"got {params.sha256}" if params.sha256 else "it is empty"
        raise ModelError(f"train.warm_start.sha256 must pin the weights that training starts from: {pinned}, while "
                         f"those of {params.uri} have {actual}; set it to that, if these are meant")
    key = _run_key(place)
    starts = []
    for found, pin in zip(chosen, pins, strict=True):
        itself = Ancestor(sha256=pin, spec_sha256=found.spec_sha256, split=found.spec.split,
                          val_fold=found.spec.val_fold)
        starts.append(Start(found.folder, (itself, *found.earlier), key))
    for start, member in zip(starts, members, strict=True):
        refuse_seen_ground(start, split, member.fold)
    if vague := sorted({a.sha256[:12] for start in starts for a in start.ancestry if not a.split}):
        warnings.warn(f"train.warm_start goes back to weights {', '.join(vague)}, of which no split is recorded: "
                      "whether they have learnt from ground that is held out now cannot be judged", stacklevel=3)
    return starts


def refuse_seen_ground(start: Start, split: str, fold: int) -> None:
    """Raise where the start, or what it came from, has learnt from the val part of this very split.

    What was trained on another split, of other data or of the same, is not judged.

    Args:
        start: what a member starts from.
        split: sha256 of the member's split.
        fold: which it holds out.

    Raises:
        ModelError: one of the ancestry held out another fold of the split, and so has seen this one.
    """
    for generation, ancestor in enumerate(start.ancestry):
        if ancestor.split == split and ancestor.val_fold != fold:
            itself = "the start" if not generation else f"an earlier start of it ({ancestor.sha256[:12]})"
            held = f"held out fold {ancestor.val_fold}" if ancestor.val_fold >= 0 else "does not say what it held out"
            raise ModelError("train.warm_start must not have learnt from ground that the new member holds out, fold "
                             f"{fold}: {itself} is of the same split and {held}; start from a member that held out "
                             f"fold {fold}, from one of other data, or train from drawn weights")


def _chosen(found: Sequence[_Found], members: Sequence[Member], split: str, uri: str) -> list[_Found]:
    """Which one each member starts from."""
    if len(found) == 1:
        return list(found) * len(members)
    alike = {(one.spec.seed, one.spec.val_fold): one for one in reversed(found)}
    if all((member.seed, member.fold) in alike for member in members):
        return [alike[member.seed, member.fold] for member in members]
    if all(one.spec.split == split and one.spec.val_fold >= 0 for one in found):
        return _by_fold(found, members, uri)
    if len(found) < len(members):
        raise ModelError(f"train.warm_start.uri must hold one member, or one for each of the {len(members)} that are "
                         f"trained: {uri} holds {len(found)}; name one, as in {uri.rstrip('/')}/members/0")
    return list(found[:len(members)])


def _by_fold(found: Sequence[_Found], members: Sequence[Member], uri: str) -> list[_Found]:
    """For each member one that held out its fold, in turn where there are several."""
    held: dict[int, list[_Found]] = defaultdict(list)
    for one in found:
        held[one.spec.val_fold].append(one)
    turns: dict[int, int] = defaultdict(int)
    chosen = []
    for member in members:
        if member.fold not in held:
            raise ModelError(f"train.warm_start.uri must hold a member that held out fold {member.fold}, as the new "
                             f"member {member.number} does, since both are of one split: {uri} held out folds "
                             f"{sorted(held)}; start from a training with train.folds, or from one of other data")
        several = held[member.fold]
        chosen.append(several[turns[member.fold] % len(several)])
        turns[member.fold] += 1
    return chosen


def _local(uri: str, paths: Paths) -> Path:
    named = paths.repository / uri
    if named.is_file() and named.name != WEIGHTS:
        raise ModelError(f"train.warm_start.uri must name a folder, or its {WEIGHTS}: got the file {uri}; put it under "
                         f"that name into a folder, with its {SPEC}")
    place = (named.parent if named.is_file() else named).resolve()
    own = (paths.checkpoint, Paths(paths.repository).checkpoint)
    if any(place.is_relative_to(folder.resolve()) for folder in own):
        raise ModelError("train.warm_start.uri must not lie in models/checkpoint, which DVC clears before it trains: "
                         f"got {uri}; copy the checkpoint elsewhere, or name its run as runs:/<id>")
    return place


def _members(place: Path, uri: str) -> list[Path]:
    """The member folders at a place: itself, or those of a checkpoint by number."""
    if (place / WEIGHTS).is_file():
        return [place]
    folders = sorted((place / "members").glob("[0-9]*"), key=lambda path: int(path.name))
    if not folders:
        raise ModelError(f"train.warm_start.uri must name a member's folder with {WEIGHTS} and {SPEC}, or a checkpoint "
                         f"with members/0: {uri} leads to {place}, which is neither; correct it")
    return folders


def _found(folder: Path) -> _Found:
    """A member by what its model.json says.

    Raises:
        ModelError: weights or model.json are missing, or it is not what train writes.
    """
    if missing := [name for name in (WEIGHTS, SPEC) if not (folder / name).is_file()]:
        raise ModelError(f"train.warm_start must lead to {WEIGHTS} and {SPEC}: {folder / missing[0]} is not there; "
                         "copy the member's whole folder")
    text = (folder / SPEC).read_bytes()
    return _Found(folder, read_spec(text, folder), sha256(text).hexdigest())


def read_spec(text: bytes, folder: Path) -> ModelSpec:
    """A start's model.json.

    Raises:
        ModelError: it is not what train writes.
    """
    try:
        return ModelSpec.model_validate_json(text)
    except ValidationError as error:
        raise ModelError(f"train.warm_start must lead to a member as train writes it: {folder}: "
                         f"{' '.join(str(error).split())[:200]}; copy the member's whole folder anew") from error


def _run_key(place: Path) -> str:
    """The key in run.json, in a checkpoint's folder or beside one of that name; "" where there is none."""
    checkpoint = place.parent.parent if place.parent.name == "members" else place
    beside = [checkpoint.parent] if checkpoint.name == "checkpoint" else []
    for folder in (checkpoint, *beside):
        if (file := folder / "run.json").is_file():
            return str(json.loads(file.read_text(encoding="utf-8")).get("key", ""))
    return ""


def record(train: TrainParams, starts: Sequence[Start]) -> dict[str, Any]:
    """What models/run.json says of the start: {} without one."""
    if not starts:
        return {}
    found = {"uri": train.warm_start.uri, "sha256": train.warm_start.sha256, "run_key": starts[0].run_key,
             "earlier": _earlier(starts)}
    return {"warm_start": {name: value for name, value in found.items() if value}}


def tags(starts: Sequence[Start]) -> dict[str, str]:
    """Tags of the training's run: {} without a start."""
    found = {"kumulus.warm_start_sha256": ",".join(dict.fromkeys(start.sha256 for start in starts)),
             "kumulus.warm_start_run_key": starts[0].run_key if starts else "",
             "kumulus.warm_start_earlier": ",".join(_earlier(starts))}
    return {name: value for name, value in found.items() if value}


def _earlier(starts: Sequence[Start]) -> list[str]:
    """sha256 of the weights that the starts came from, in order."""
    return list(dict.fromkeys(ancestor.sha256 for start in starts for ancestor in start.ancestry[1:]))
