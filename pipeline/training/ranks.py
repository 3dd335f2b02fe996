"""What the processes of a data-parallel training tell each other on the host, beside the device's own queue of work."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as distributed
from lightning_fabric import Fabric
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.losses.devices import sum_over_devices

T = TypeVar("T")

#: How long processes wait for the main one, which may score or write for hours; they do notice at once that it is gone.
PATIENCE = timedelta(days=7)


class Ranks:
    """The processes of one training; every method must be called on all of them, in the same order.

    Numbers go over gloo, in host memory, whatever connects the devices: a rank that waits for another does not wait for
    its own device, whose queue stays full.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank, self.size = fabric.global_rank, fabric.world_size
        # Every process is in the group.
        self._group = cast(distributed.ProcessGroup, distributed.new_group(backend="gloo", timeout=PATIENCE)
                           ) if self.size > 1 else None

    @property
    def first(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the ranks, in float64."""
        if self._group is None:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total, group=self._group)
        return [float(value) for value in total]

    def gathered(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        if self._group is None:
            return [value]
        values: list[T] = [value] * self.size
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def of_first(self, compute: Callable[[], T]) -> T:
        """What the main process computes, on all; where it fails there, the others stop too.

        Raises:
            ModelError: the main process failed; its own error says why.
        """
        if self._group is None:
            return compute()
        told: list[T | None] = [None]
        finished = False
        try:
            if self.first:
                told = [compute()]
            finished = True
        finally:
            failed = self.sums([0.0 if finished else 1.0])[0]
        if failed:
            raise ModelError("all processes of a training must stay alive: the main one failed; its message says why")
        distributed.broadcast_object_list(told, group=self._group)
        result: T = told[0]  # type: ignore[assignment]
        return result

    @contextmanager
    def on_first(self, open_: Callable[[], AbstractContextManager[T]]) -> Iterator[T | None]:
        """What the main process opens, there; None on the others, which stop too where opening or closing it fails.

        Raises:
            ModelError: the main process failed to open or close it; its own error says why.
        """
        with ExitStack() as stack:
            opened: list[T] = []

            def enter() -> None:
                opened.append(stack.enter_context(open_()))

            self.of_first(enter)
            yield opened[0] if opened else None
            self.of_first(stack.close)

    def over_devices(self) -> Callable[[Tensor], Tensor]:
        """The differentiable sum of a tensor over the devices."""
        return sum_over_devices if self.size > 1 else _alone


def _alone(tensor: Tensor) -> Tensor:
    return tensor
