"""What a training starts from: random weights, over them a pretrained encoder or all weights of another training."""

import warnings
from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.networks.pretrained import encoder_start
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.training.preflight import Shape, check_memory


def begin(spec: ModelSpec, params: TrainParams, start: Mapping[str, Tensor] | None) -> Segmenter:
    """The network of a spec (which then records its encoder's weights) at the beginning of its training.

    Raises:
        ModelError: it cannot be built, its encoder's weights cannot be had, or `start` does not fit.
    """
    spec, encoder = encoder_start(spec)
    segmenter = begin_with(build(spec), {**encoder, **(start or {})})
    if params.optimizer.frozen_epochs and not encoder and not start:
        warnings.warn("train.optimizer.frozen_epochs is for encoders that have learnt before: this one is frozen with "
                      "random weights; set train.network.weights or train.warm_start", stacklevel=2)
    return segmenter


def begin_with(segmenter: Segmenter, start: Mapping[str, Tensor]) -> Segmenter:
    """The segmenter with some of its weights replaced.

    Raises:
        ModelError: it has no such weights, or of other shapes.
    """
    own = segmenter.state_dict()
    if misfits := [name for name, value in start.items() if name not in own or own[name].shape != value.shape]:
        raise ModelError(f"weights to start from must be the network's, of the same shapes: {misfits[:3]} are not; "
                         "leave them out, or set train.network to the network they come from")
    segmenter.load_state_dict(start, strict=False)
    return segmenter


def place(segmenter: Segmenter, params: TrainParams, fabric: Fabric, scored_NHW: Shape | None = None) -> Segmenter:
    """The segmenter on the fabric's device, with batch statistics over all of several GPUs.

    Raises:
        ModelError: a step, or a batch of val of that shape, does not fit the device.
    """
    check_memory(segmenter, params, fabric.device, scored_NHW=scored_NHW)
    segmenter = segmenter.to(fabric.device)
    return over_all_devices(segmenter) if fabric.world_size > 1 and fabric.device.type == "cuda" else segmenter


def over_all_devices(segmenter: Segmenter) -> Segmenter:
    """The segmenter with synchronized batch norm, and the weights, names and activations it had.

    Many of timm's encoders have norm and activation in one module, which torch's own conversion would replace by the
    norm alone.
    """
    from timm import layers

    convert: Any = layers.convert_sync_batchnorm  # type: ignore[attr-defined]
    converted: Segmenter = convert(segmenter)
    return converted
