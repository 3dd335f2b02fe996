"""Match the weights of another training to a network: bands and classes by name, all else by the layers' names.

Statistics are never taken over; the start's first layer meets channels normalized by the new train pixels.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.seeding import seed_everything
from pipeline.training.warm_start import SPEC, WEIGHTS, Start, read_spec, refuse_seen_ground

#: Names shown of each kind of what is left out, or not there.
_SHOWN = 3


def matched(start: Start, spec: ModelSpec, seed: int) -> dict[str, Tensor]:
    """What a network of `spec` takes over from the start, by the names of its own weights.

    The first layer's input channels are chosen by channel name, the head's outputs by class name; new channels and
    classes keep what the network draws for them with the seed. Statistics are left out. Leaves the global generators as
    `seed_everything(seed)` does.

    Raises:
        ModelError: the start is not what was pinned, has learnt from the member's val part, shares no channel, or has
            layers of equal names and other shapes.
    """
    source, weights = _read(start)
    refuse_seen_ground(start, spec.split, spec.val_fold)
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
    dropped = ("normalizer.", *(f"{name}." for name in fresh.dropped))  # members of old hold stages that nothing used
    _tell_left_out({"layer layers": sorted(name for name in set(weights) - set(own) if not name.startswith(dropped)),
                    "channel channels": [name for name in source.channels if name not in spec.channels],
                    "class classes": [name for name in source.classes if name not in spec.classes]})
    return taken


def _read(start: Start) -> tuple[ModelSpec, dict[str, Tensor]]:
    """model.json and the weights, each read once: what is used are the very bytes whose digests were found before."""
    itself = start.ancestry[0]
    files = {}
    for name, digest in ((SPEC, itself.spec_sha256), (WEIGHTS, itself.sha256)):
        try:
            files[name] = (start.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise ModelError(f"train.warm_start must lead to {WEIGHTS} and {SPEC}: {error.filename} is not there; "
                             "copy the member's whole folder") from error
        if (actual := sha256(files[name]).hexdigest()) != digest:
            raise ModelError(f"train.warm_start must stay as it is while it is used: {start.folder / name} had sha256 "
                             f"{digest} when this training began and has {actual} now; put it back, or train anew")
    try:
        return read_spec(files[SPEC], start.folder), load(files[WEIGHTS])
    except SafetensorError as error:
        raise ModelError(f"train.warm_start must lead to weights as train writes them: {start.folder}: "
                         f"{' '.join(str(error).split())[:200]}; copy the member's whole folder anew") from error


def _refuse_or_warn(count: int, absent: Sequence[str], odd: Sequence[str]) -> None:
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise ModelError(f"train.warm_start must have layers of the network's shapes: {', '.join(odd[:_SHOWN])}{more}; "
                         "give train.network as the start had it")
    if absent:
        warnings.warn(f"train.warm_start lacks {len(absent)} of {count} layers of the network, which start as "
                      f"drawn: {_some(absent)}", stacklevel=3)


def _tell_left_out(by_kind: Mapping[str, Sequence[str]]) -> None:
    """Say in one warning what the start has and the network has not; kinds are `one several`."""
    told = [f"{len(names)} {kind.split()[len(names) > 1]} ({_some(names)})" for kind, names in by_kind.items() if names]
    if told:
        warnings.warn(f"train.warm_start has what the network has not, which is left out: {', '.join(told)}",
                      stacklevel=3)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


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
