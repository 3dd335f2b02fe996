"""What an encoder starts from: the library's ImageNet weights or a file, fitted to the bands of a model.

Only a training asks for these, once; a stored member holds all of its weights and never asks again. The digest of what
was started from is part of the member's spec, in `network.weights_sha256`.
"""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.digests import file_sha256
from pipeline.errors import ModelError
from pipeline.networks.architecture import build_body, create
from pipeline.networks.segmenter import build
from pipeline.networks.spec import ModelSpec
from pipeline.params.network import NetworkParams
from pipeline.paths import Paths


def encoder_start(spec: ModelSpec) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The spec that records what the encoder starts from, and these tensors by their names in a Segmenter.

    For `train.network.weights` "" the spec as it is and no tensors. The record is the digest and, instead of a path
    that another machine may not have, the file's name. Torch's global generator is left as it was.

    Raises:
        ModelError: the weights cannot be had, are not those of the configured digest, or do not fit the encoder.
    """
    network = spec.network
    if not network.weights:
        return spec, {}
    with torch.random.fork_rng(devices=[]):
        encoder = build_body(network, channels=len(spec.channels), classes=len(spec.classes)).encoder
        state, digest = _imagenet(network) if network.weights == "imagenet" else _from_file(network)
        known = build(spec).state_dict()
    _load(encoder, state, network)
    start = {f"body.encoder.{name}": value for name, value in encoder.state_dict().items()}
    recorded = network.model_copy(update={"weights": Path(network.weights).name, "weights_sha256": digest})
    return (spec.model_copy(update={"network": recorded}),
            {name: value for name, value in start.items() if name in known})


def to_channels(weight_OCHW: Tensor, channels: int) -> Tensor:
    """A first convolution's weights for another number of channels, by the rule of smp and timm.

    The given channels are taken in turn (a fourth band gets the first one's filters) and scaled by given / wanted, so
    that the response to standardized bands keeps its size; for one channel they are summed. Same as
    `segmentation_models_pytorch.encoders._utils.patch_first_conv` and `timm.models._manipulate.adapt_input_conv`.
    """
    given = weight_OCHW.shape[1]
    if given == channels:
        return weight_OCHW
    if channels == 1:
        return weight_OCHW.sum(dim=1, keepdim=True)
    return weight_OCHW[:, [i % given for i in range(channels)]] * (given / channels)


def _imagenet(network: NetworkParams) -> tuple[dict[str, Tensor], str]:
    """The library's weights of the encoder for red, green and blue, and their digest."""
    wanted = True if network.encoder.startswith("tu-") else "imagenet"
    try:
        state = _encoder_state(network, wanted)
    except (AssertionError, HfHubHTTPError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise ModelError("train.network.weights imagenet must be in reach of the library, or in its cache, for encoder "
                         f"{network.encoder}: {' '.join(str(error).split())[:300]}; connect, or use a file") from error
    digest = hashlib.sha256(save(state)).hexdigest()
    if not network.weights_sha256:
        warnings.warn("train.network.weights: imagenet is what the library has today, and other weights would go "
                      f"unnoticed; set train.network.weights_sha256 to {digest}", stacklevel=3)
    if network.weights_sha256 not in ("", digest):
        raise ModelError(f"train.network.weights imagenet must have weights_sha256 {network.weights_sha256}: the "
                         f"library's weights of {network.encoder} have {digest}")
    return state, digest


def _from_file(network: NetworkParams) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by the encoder's names, and the file's digest, which the configuration must know."""
    path = Paths().repository / network.weights
    if path.suffix not in (".safetensors", ".pt", ".pth") or not path.is_file():
        raise ModelError("train.network.weights must be \"\", imagenet, or an existing .safetensors, .pt or .pth file: "
                         f"got {network.weights}, which is {path}")
    digest = file_sha256(path)
    if network.weights_sha256 != digest:
        raise ModelError(f"train.network.weights_sha256 must be the digest of {path}, or a changed file would go "
                         f"unnoticed: got {network.weights_sha256 or 'none'}; set it to {digest}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (EOFError, IndexError, KeyError, RuntimeError, SafetensorError, UnpicklingError, ValueError) as error:
        raise ModelError(f"train.network.weights must be a readable file of tensors: {path}: "
                         f"{' '.join(str(error).split())[:200]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"train.network.weights must hold tensors by name: {path} holds {_kinds(state)}; "
                         "save the encoder's state_dict")
    if not network.encoder.startswith("tu-") or any(name.startswith("model.") for name in state):
        return state, digest
    # A file of timm's own: timm knows how its names map to those of its feature extractors.
    try:
        return _encoder_state(network, True, pretrained_cfg_overlay={"state_dict": state}), digest
    except (AssertionError, KeyError, RuntimeError, ValueError) as error:
        raise ModelError(_misfit(network, error)) from error


def _kinds(state: object) -> str:
    values = list(state.values())[:3] if isinstance(state, dict) else [state]
    return ", ".join(type(value).__name__ for value in values)


def _encoder_state(network: NetworkParams, weights: str | bool, **options: Any) -> dict[str, Tensor]:
    """The encoder of three channels with weights that the library loads."""
    state: dict[str, Tensor] = create(network, channels=3, classes=2, weights=weights, **options).encoder.state_dict()
    return state


def _load(encoder: Any, state: Mapping[str, Tensor], network: NetworkParams) -> None:
    """Load by name and shape; only a first convolution may differ, in its number of channels."""
    fitted = dict(state)
    channels = encoder.out_channels[0]
    for name, target in encoder.state_dict().items():
        given = fitted.get(name)
        if (given is not None and given.ndim == target.ndim == 4 and target.shape[1] == channels
                and given.shape != target.shape and given[:, :1].shape == target[:, :1].shape):
            fitted[name] = to_channels(given, channels)
    try:
        # The library drops the classifier of a whole network first.
        encoder.load_state_dict(fitted)
    except RuntimeError as error:
        raise ModelError(_misfit(network, error)) from error


def _misfit(network: NetworkParams, error: Exception) -> str:
    return (f"train.network.weights must hold the encoder {network.encoder} by name and shape: {network.weights}: "
            f"{' '.join(str(error).split())[:600]}")
