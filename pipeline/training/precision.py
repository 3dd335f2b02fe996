"""Mixed precision that leaves images alone, and begins anew with every member of a training."""

from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision


class AutocastOnly(MixedPrecision):
    """Autocast, and nothing cast before it.

    Fabric's own plugin casts what a data-parallel network is handed to bf16 or fp16. Scene units do not survive that:
    27315 (kelvin x 100) becomes 27264, and 70000 infinite. The network's normalization is to see them in float32, as
    it does on one device, where Fabric hands over what it is given.
    """

    def convert_input(self, data: Any) -> Any:
        """The data as they are."""
        return data


def leave_inputs_alone(fabric: Fabric) -> None:
    """Replace a fabric's mixed precision, if it has one, by one that is autocast only; before anything is set up."""
    precision = fabric.strategy.precision
    if isinstance(precision, MixedPrecision):
        name: Any = precision.precision  # one of the two that there are of this kind
        fabric.strategy.precision = AutocastOnly(name, precision.device, precision.scaler)


def renew_scaler(fabric: Fabric) -> None:
    """Give the fabric a scaler that has seen no gradient yet, if it has any: it outlives a member's training."""
    precision = fabric.strategy.precision
    if isinstance(precision, MixedPrecision) and precision.scaler is not None:
        precision.scaler = torch.amp.GradScaler(device=precision.device)
