"""Batches for a data-parallel training: what is drawn depends on seed, epoch and step, never on ranks or workers."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.patches.batch import Batch, Recycled, collate
from pipeline.patches.source import Patch, PatchSource

#: Epoch and index of a patch.
_Key = tuple[int, int]


class _Patches(Dataset[Patch]):
    def __init__(self, source: PatchSource) -> None:
        self._source = source

    def __getitem__(self, key: _Key) -> Patch:
        return self._source.draw(*key)


class _Keys:
    """The parts of one epoch's steps, as lists of keys; epoch and first part change between two walks."""

    def __init__(self, parts: Sequence[range]) -> None:
        self.parts = parts
        self.epoch = 0
        self.first = 0

    def __iter__(self) -> Iterator[list[_Key]]:
        return ([(self.epoch, index) for index in part] for part in self.parts[self.first:])

    def __len__(self) -> int:
        return len(self.parts) - self.first


def _by_worker(patches: Sequence[Patch], recycled: Recycled) -> Batch:
    """A batch with all that need not be done where the network is trained."""
    return collate(patches, recycled).prepared()


class EpochBatches:
    """This rank's share of every step of an epoch, cut in this process or by workers that live through all epochs.

    An epoch has per_epoch // batch_size steps. Step s draws indices [s * batch_size, (s + 1) * batch_size), cut into
    `accumulation` parts of neighbours; of each part, rank r takes every world_size-th from the r-th on. So a part is
    the same patches however many ranks share it.
    """

    def __init__(self, source: PatchSource, per_epoch: int, batch_size: int, accumulation: int, rank: int = 0,
                 world_size: int = 1, workers: int = 0, pin_memory: bool = False) -> None:
        share = batch_size // (accumulation * world_size)
        starts = range(0, per_epoch // batch_size * batch_size, batch_size)
        self._keys = _Keys([range(start + rank, start + batch_size, world_size)[i * share:(i + 1) * share]
                            for start in starts for i in range(accumulation)])
        self._accumulation = accumulation
        self._source = source
        self._collate = partial(collate, recycled=Recycled())
        self._pin_memory = pin_memory
        # A generator of its own: the loader would draw from torch's global one, as often as it has workers to start.
        self._loader = DataLoader(
            _Patches(source), batch_sampler=self._keys, collate_fn=partial(_by_worker, recycled=Recycled()),
            num_workers=workers, multiprocessing_context="spawn", persistent_workers=True, pin_memory=pin_memory,
            generator=torch.Generator()) if workers else None

    def epoch(self, number: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """The steps of an epoch from `first_step` on, each a list of `accumulation` batches; none before is cut."""
        self._keys.epoch, self._keys.first = number, first_step * self._accumulation
        parts = iter(self._loader) if self._loader else self._cut()
        step: list[Batch] = []
        for batch in parts:
            step.append(batch)
            if len(step) == self._accumulation:
                yield step
                step = []

    def _cut(self) -> Iterator[Batch]:
        batches = (self._collate([self._source.draw(*key) for key in keys]) for keys in self._keys)
        return (batch.pin_memory() for batch in batches) if self._pin_memory else batches
