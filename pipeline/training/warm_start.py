"""Start from the weights of another training: bands and classes are matched by name, all else by the layers' names.

What decides the result is train.warm_start.sha256: the place may hold other weights tomorrow, and then the training is
refused. Statistics are never taken over; the start's first layer meets channels normalized by the new train pixels.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.digests import canonical_sha256, file_sha256
from pipeline.errors import ModelError
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.paths import Paths
from pipeline.seeding import seed_everything
from pipeline.training.plan import Member
from pipeline.training.resume import ResumeStore

WEIGHTS, SPEC = "weights.safetensors", "model.json"

#: How addresses begin that the tracking fetches.
TRACKED = ("runs:/", "models:/")


@dataclass(frozen=True)
class Start:
    """A member to start from."""

    folder: Path
    #: Of its weights.
    sha256: str
    #: Key of the training it came from; "" where that is not known.
    run_key: str = ""


def open_starts(train: TrainParams, members: Sequence[Member], paths: Paths, kept: ResumeStore,
                fetch: Callable[[str, Path, Paths], None]) -> list[Start]:
    """The start of each member, checked against the pinned digest; none where weights are drawn.

    A checkpoint of one member starts them all; one of several starts each member by its own number, unless the address
    names one of them (.../members/2).

    Args:
        train: its `warm_start`.
        members: all that are trained.
        paths: relative paths are relative to its repository, under `dvc exp run --temp` the real one.
        kept: the resume state; what came from MLflow stays there, and a killed training does not fetch it again.
        fetch: brings the checkpoint of a `runs:/` or `models:/` address into a folder: members/<i>/ and run.json.

    Raises:
        ModelError: there is no such checkpoint, too few members in it, or its digest is not the pinned one.
    """
    params = train.warm_start
    if not params.uri:
        return []
    if train.network.weights:
        warnings.warn("train.network.weights has no effect on layers that train.warm_start replaces; leave one of them "
                      "out", stacklevel=2)
    if params.uri.startswith(TRACKED):
        place = kept.folder / "start"
        if not place.exists():
            fetch(params.uri, place, paths)
    else:
        place = _local(params.uri, paths)
    folders, count = _members(place, params.uri), len(members)
    if 1 < len(folders) < count:
        raise ModelError(f"train.warm_start.uri must hold one member, or one for each of the {count} that are trained: "
                         f"{params.uri} holds {len(folders)}; name one, as in {params.uri.rstrip('/')}/members/0")
    chosen = folders[:1] * count if len(folders) == 1 else folders[:count]
    digests = [file_sha256(folder / WEIGHTS) for folder in chosen]
    actual = digests[0] if len(set(digests)) == 1 else canonical_sha256(digests)
    if params.sha256 != actual:
        pinned = f"got {params.sha256}" if params.sha256 else "it is empty"
        raise ModelError(f"train.warm_start.sha256 must pin the weights that training starts from: {pinned}, while "
                         f"those of {params.uri} have {actual}; set it to that, if these are meant")
    key = _run_key(place)
    return [Start(folder, digest, key) for folder, digest in zip(chosen, digests, strict=True)]


def _local(uri: str, paths: Paths) -> Path:
    place = (paths.repository / uri).resolve()
    own = (paths.checkpoint, Paths(paths.repository).checkpoint)
    if any(place.is_relative_to(folder.resolve()) for folder in own):
        raise ModelError("train.warm_start.uri must not lie in models/checkpoint, which DVC clears before it trains: "
                         f"got {uri}; copy the checkpoint elsewhere, or name its run as runs:/<id>")
    return place.parent if place.is_file() else place


def _members(place: Path, uri: str) -> list[Path]:
    """The member folders at a place: itself, or those of a checkpoint by number."""
    if (place / WEIGHTS).is_file():
        return [place]
    folders = sorted((place / "members").glob("[0-9]*"), key=lambda path: int(path.name))
    if not folders:
        raise ModelError(f"train.warm_start.uri must name a member's folder with {WEIGHTS} and {SPEC}, or a checkpoint "
                         f"with members/0: {uri} leads to {place}, which is neither; correct it")
    return folders


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
    found = {"uri": train.warm_start.uri, "sha256": train.warm_start.sha256, "run_key": starts[0].run_key}
    return {"warm_start": {name: value for name, value in found.items() if value}}


def tags(starts: Sequence[Start]) -> dict[str, str]:
    """Tags of the training's run: {} without a start."""
    found = {"kumulus.warm_start_sha256": ",".join(dict.fromkeys(start.sha256 for start in starts)),
             "kumulus.warm_start_run_key": starts[0].run_key if starts else ""}
    return {name: value for name, value in found.items() if value}


def matched(start: Start, spec: ModelSpec, seed: int) -> dict[str, Tensor]:
    """What a network of `spec` takes over from the start, by the names of its own weights.

    The first layer's input channels are chosen by channel name, the head's outputs by class name; new channels and
    classes keep what the network draws for them with the seed. Statistics are left out. Leaves the global generators as
    `seed_everything(seed)` does.

    Raises:
        ModelError: the start cannot be read, shares no channel, or has layers of equal names and other shapes.
    """
    source, weights = _read(start)
    seed_everything(seed)
    fresh = build(spec)
    seed_everything(seed)
    if not set(source.channels) & set(spec.channels):
        raise ModelError(f"train.warm_start must share a channel with the network: it has {list(source.channels)}, the "
                         f"network {list(spec.channels)}; start from another, or from drawn weights")
    if source.texture != spec.texture and any(name.startswith("glcm_") for name in set(source.channels)
                                              & set(spec.channels)):
        warnings.warn("train.warm_start had its texture channels computed otherwise than task.texture says; they are "
                      "matched by name all the same", stacklevel=2)
    inputs, heads = _first_layers(fresh), _heads(fresh)
    own = {name: drawn for name, drawn in fresh.state_dict().items() if not name.startswith("normalizer.")}
    taken: dict[str, Tensor] = {}
    absent, odd = [], []
    for name, drawn in own.items():
        given = weights.get(name)
        if given is None:
            absent.append(name)
        elif name in inputs and given.shape[1] == len(source.channels):
            given = _by_name(given, drawn, source.channels, spec.channels, axis=1)
        elif name in heads and given.shape[:1] == (len(source.classes),):
            given = _by_name(given, drawn, source.classes, spec.classes, axis=0)
        if given is not None and given.shape != drawn.shape:
            odd.append(f"{name} {tuple(given.shape)} for {tuple(drawn.shape)}")
        elif given is not None:
            taken[name] = given.to(drawn.dtype)
    if not any(name in weights for name in own if not name.startswith("body.segmentation_head.")):
        raise ModelError(f"train.warm_start must share layers with the network: {start.folder} has none of its names; "
                         "give train.network as the start had it")
    _refuse_or_warn(len(own), absent, odd)
    return taken


def _read(start: Start) -> tuple[ModelSpec, dict[str, Tensor]]:
    try:
        spec = ModelSpec.model_validate_json((start.folder / SPEC).read_text(encoding="utf-8"))
        return spec, load_file(start.folder / WEIGHTS)
    except FileNotFoundError as error:
        raise ModelError(f"train.warm_start must lead to {WEIGHTS} and {SPEC}: {error.filename} is not there; "
                         "copy the member's whole folder") from error
    except (ValidationError, SafetensorError) as error:
        raise ModelError(f"train.warm_start must lead to a member as train writes it: {start.folder}: "
                         f"{' '.join(str(error).split())[:200]}") from error


def _refuse_or_warn(count: int, absent: Sequence[str], odd: Sequence[str]) -> None:
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise ModelError(f"train.warm_start must have layers of the network's shapes: {', '.join(odd[:3])}{more}; give "
                         "train.network as the start had it")
    if absent:
        warnings.warn(f"train.warm_start lacks {len(absent)} of {count} layers of the network, which start as "
                      f"drawn: {', '.join(absent[:3])}{' ...' if len(absent) > 3 else ''}", stacklevel=3)


def _by_name(given: Tensor, drawn: Tensor, old: Sequence[str], new: Sequence[str], axis: int) -> Tensor:
    """The given weights along an axis in the order of `new` names; what is not in `old` stays as drawn."""
    if given.shape[:axis] + given.shape[axis + 1:] != drawn.shape[:axis] + drawn.shape[axis + 1:]:
        return given
    parts = [(given, old.index(name)) if name in old else (drawn, i) for i, name in enumerate(new)]
    return torch.stack([tensor.select(axis, place) for tensor, place in parts], dim=axis)


def _first_layers(segmenter: Segmenter) -> set[str]:
    """Names of the weights that the image's channels meet first: of convolutions that are handed the very image.

    Found by running the network once: encoders name this layer in many ways.
    """
    images: list[Tensor] = []
    found: set[str] = set()

    def note_image(_: nn.Module, __: Any, output: Tensor) -> None:
        images.append(output)

    def note_layer(name: str) -> Callable[[nn.Module, Any], None]:
        def note(_: nn.Module, inputs: Any) -> None:
            if inputs and any(inputs[0] is image for image in images):
                found.add(f"{name}.weight")
        return note

    convolutions = [(name, module) for name, module in segmenter.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [segmenter.normalizer.register_forward_hook(note_image),
               *(module.register_forward_pre_hook(note_layer(name)) for name, module in convolutions)]
    training = segmenter.training
    try:
        size = max(segmenter.spec.patch_size_px, 2 * segmenter.spec.size_multiple)
        with torch.no_grad():
            segmenter.eval()(torch.zeros(1, len(segmenter.spec.channels), size, size))
    finally:
        segmenter.train(training)
        for handle in handles:
            handle.remove()
    if not found:
        raise ModelError("train.warm_start must find the layer that meets the image's channels: "
                         f"{segmenter.spec.network.architecture} with encoder {segmenter.spec.network.encoder} hands "
                         "its image to no convolution; use another encoder")
    return found


def _heads(segmenter: Segmenter) -> set[str]:
    """Names of the head's weights that have one row for each class."""
    head = {id(parameter) for name, parameters in segmenter.layers() if name == "head" for parameter in parameters}
    classes = len(segmenter.spec.classes)
    return {name for name, parameter in segmenter.named_parameters()
            if id(parameter) in head and len(parameter) == classes and not name.startswith("boundary.")}
