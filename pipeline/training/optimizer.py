"""The optimizer of a segmenter: rates by layer, weight decay by kind of parameter, and which layers are frozen when."""

import warnings
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, AdamW, Optimizer

from pipeline.networks.segmenter import Segmenter
from pipeline.params.optimizer import OptimizerParams


def build_optimizer(segmenter: Segmenter, params: OptimizerParams) -> Optimizer:
    """AdamW or SGD; each group's `factor` is what its rate is of the base rate."""
    groups = _groups(segmenter, params)
    match params.name:
        case "adamw":
            return AdamW(groups, lr=params.lr, betas=(params.momentum, 0.999), weight_decay=params.weight_decay)
        case "sgd":
            return SGD(groups, lr=params.lr, momentum=params.momentum, nesterov=params.nesterov,
                       weight_decay=params.weight_decay)


def layer_factors(names: Iterable[str], params: OptimizerParams) -> dict[str, float]:
    """Each layer's factor on the rate, from names that run from the input to the head."""
    names = list(names)
    return {name: params.layer_decay ** (len(names) - 1 - i)
            * (params.encoder_lr_factor if name.startswith("encoder") else 1.0) for i, name in enumerate(names)}


def _groups(segmenter: Segmenter, params: OptimizerParams) -> list[dict[str, Any]]:
    """One group of all parameters where they are treated alike, else by layer and by decay."""
    alike = params.encoder_lr_factor == 1 and params.layer_decay == 1
    layers = [("all", list(segmenter.parameters()))] if alike else segmenter.layers()
    factors = layer_factors([name for name, _ in layers], params)
    groups: list[dict[str, Any]] = []
    for name, parameters in layers:
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim >= 2 or params.decay_norms_and_biases) == decays]
            if chosen:
                groups.append({"params": chosen, "factor": factors[name],
                               "weight_decay": params.weight_decay if decays else 0.0})
    return groups


def set_rates(optimizer: Optimizer, rate: float, momentum: float) -> None:
    """Set the base rate and the momentum of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


class Freezing:
    """Which parts of the encoder learn in an epoch: none at first, then from the deepest stage towards the input."""

    def __init__(self, segmenter: Segmenter, params: OptimizerParams, epochs: int) -> None:
        self._segmenter, self._params = segmenter, params
        layers = segmenter.layers() if params.frozen_epochs or params.unfreeze_every_epochs else []
        # What the network itself keeps from learning, since nothing depends on it, stays so.
        self._stages = [(name, [p for p in parameters if p.requires_grad]) for name, parameters in layers
                        if name.startswith("encoder")]
        never = [name for name, thaw in self.thaws([name for name, _ in self._stages]).items() if thaw >= epochs]
        if never:
            warnings.warn(f"train.epochs must exceed what train.optimizer.frozen_epochs and unfreeze_every_epochs add "
                          f"up to, or some of the encoder never learns: in {epochs} epochs {', '.join(never)} stay as "
                          "they started", stacklevel=2)

    def thaws(self, names: Iterable[str]) -> dict[str, int]:
        """The epoch, from 0, in which each encoder stage (given from fine to deep) begins to learn."""
        names = list(names)
        return {name: self._params.frozen_epochs + (len(names) - 1 - i) * self._params.unfreeze_every_epochs
                for i, name in enumerate(names)}

    def begin(self, epoch: int) -> None:
        """Freeze and thaw for an epoch; of a frozen part, batch norm keeps its statistics and applies these."""
        if not self._stages:
            return
        thaws = self.thaws([name for name, _ in self._stages])
        for name, parameters in self._stages:
            for parameter in parameters:
                parameter.requires_grad_(epoch >= thaws[name])
        for module in self._segmenter.modules():
            if isinstance(module, _BatchNorm) and _frozen(module):
                module.eval()


def _frozen(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)
