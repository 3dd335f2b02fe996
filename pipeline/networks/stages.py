"""Which parameters of an encoder belong to which of its stages, and which no output depends on.

Read off the autograd graph of one pass, so that it holds for any encoder of the library without a list of their names.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Dropped(nn.Module):
    """Stands where a stage was whose output nobody uses; hands its first input on."""

    def forward(self, value: Tensor, *_: object) -> Tensor:
        """The value as it came."""
        return value


def reached(tensor: Tensor) -> set[int]:
    """The `id` of each parameter that a tensor's gradient would reach."""
    found: set[int] = set()
    nodes = [tensor.grad_fn] if tensor.grad_fn is not None else []
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return found


def encoder_stages(encoder: nn.Module, features: Sequence[Tensor]) -> list[list[str]]:
    """Names of the encoder's parameters by the first feature that depends on them, from fine to deep.

    Those that no feature depends on are with the last stage. Stages without parameters are empty lists.

    Args:
        encoder: with all its parameters requiring gradients.
        features: its output, in a pass that recorded gradients.
    """
    left = {id(parameter): name for name, parameter in encoder.named_parameters()}
    stages: list[list[str]] = []
    for feature in features:
        found = reached(feature)
        stages.append([name for key, name in left.items() if key in found])
        left = {key: name for key, name in left.items() if key not in found}
    stages[-1].extend(left.values())
    return stages


def unused(module: nn.Module, output: Tensor) -> list[str]:
    """Names of the largest submodules with parameters of which the output depends on none."""
    found = reached(output)
    names: list[str] = []
    for name, part in module.named_modules():
        if name and not any(name.startswith(f"{above}.") for above in names):
            parameters = [id(parameter) for parameter in part.parameters()]
            if parameters and not any(key in found for key in parameters):
                names.append(name)
    return names


def drop(module: nn.Module, names: Sequence[str], output: Callable[[], Tensor]) -> list[str]:
    """Take unused submodules out of a module, if its output then still is the same; the names taken out."""
    with torch.no_grad():
        before = output()
        parts = {name: module.get_submodule(name) for name in names}
        for name in names:
            module.set_submodule(name, Dropped())
        try:
            same = torch.equal(before, output())
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            same = False
    if same:
        return list(names)
    for name, part in parts.items():
        module.set_submodule(name, part)
    return []
