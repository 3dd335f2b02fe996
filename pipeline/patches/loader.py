"""Batches for a data-parallel training: what is drawn depends on seed, epoch and step, never on ranks or workers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.patches.source import Patch, PatchSource


@dataclass(frozen=True)
class Batch:
    """A part of one step: image NCHW float32 (NaN = invalid), labels NHW int64 (255 = ignore), weight NHW float32."""

    image: Tensor
    labels: Tensor
    weight: Tensor
    #: Where each patch was cut, as `scene row col`, for messages.
    places: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(self.image.to(device), self.labels.to(device), self.weight.to(device), self.places)


def collate(patches: list[Patch]) -> Batch:
    """Stack patches."""
    return Batch(torch.from_numpy(np.stack([p.image for p in patches])),
                 torch.from_numpy(np.stack([p.labels for p in patches]).astype(np.int64)),
                 torch.from_numpy(np.stack([p.weight for p in patches])),
                 tuple(f"{p.scene_id} row {p.window.row} col {p.window.col}" for p in patches))


class _EpochPatches(Dataset[Patch]):
    def __init__(self, source: PatchSource, epoch: int) -> None:
        self._source, self._epoch = source, epoch

    def __getitem__(self, index: int) -> Patch:
        return self._source.draw(self._epoch, index)


def epoch_batches(source: PatchSource, epoch: int, per_epoch: int, batch_size: int, accumulation: int, rank: int = 0,
                  world_size: int = 1, workers: int = 0) -> Iterator[list[Batch]]:
    """This rank's share of each step of an epoch, as `accumulation` batches.

    An epoch has per_epoch // batch_size steps. Step s draws indices [s * batch_size, (s + 1) * batch_size); rank r
    takes every world_size-th of them from r on.
    """
    share = batch_size // (accumulation * world_size)
    parts = [range(start + rank, start + batch_size, world_size)[i * share:(i + 1) * share]
             for start in range(0, per_epoch // batch_size * batch_size, batch_size) for i in range(accumulation)]
    loader = DataLoader(_EpochPatches(source, epoch), batch_sampler=[list(p) for p in parts], collate_fn=collate,
                        num_workers=workers, multiprocessing_context="spawn" if workers else None)
    step: list[Batch] = []
    for batch in loader:
        step.append(batch)
        if len(step) == accumulation:
            yield step
            step = []
