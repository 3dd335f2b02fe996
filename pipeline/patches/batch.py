"""Stacked patches: raw as they travel to the device, and there turned and made into what a network takes.

Shape legend: N patches, C channels, H rows, W columns (H = W).
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.patches.ground import masked
from pipeline.patches.source import Patch
from pipeline.types import IGNORE_INDEX, AnyArray

#: The eight turns as a transposition (or not) and the axes flipped after it: one copy each.
_TURNS = ((False, ()), (True, (0,)), (False, (0, 1)), (True, (1,)), (False, (1,)), (True, ()), (False, (0,)),
          (True, (0, 1)))


@dataclass(frozen=True)
class Tally:
    """What a batch holds of each class, by id from 0 to 254."""

    #: Labelled pixels, and the sum of their weights.
    pixels: tuple[int, ...]
    weight: tuple[float, ...]


@dataclass(frozen=True)
class Batch:
    """A part of one step as it was cut, not yet turned; half the bytes of float32 images for 16-bit scenes."""

    #: NHWC values of the stores' number type (or float32 channels); may be anything where not visible.
    raw_NHWC: Tensor
    #: bool NHW.
    visible_NHW: Tensor
    #: uint8 NHW class ids; 255 = ignore.
    raw_labels_NHW: Tensor
    #: float32 NHW; may be anything where the label is 255.
    raw_weight_NHW: Tensor
    #: Flip and quarter turn of each patch.
    turns: tuple[int, ...]
    #: Where each patch was cut, for messages.
    places: tuple[str, ...]
    #: Its tally, where a worker has counted.
    counted: Tally | None = None

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; a GPU's queue takes the copy, which waits for nothing if memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU reads by itself (torch's DataLoader calls it too)."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(self, raw_NHWC=change(self.raw_NHWC), visible_NHW=change(self.visible_NHW),
                       raw_labels_NHW=change(self.raw_labels_NHW), raw_weight_NHW=change(self.raw_weight_NHW))

    def tally(self) -> Tally:
        """Labelled pixels and their weights by class, counted on the host."""
        if self.counted is not None:
            return self.counted
        labels, weight = self.raw_labels_NHW.view(-1), self.raw_weight_NHW.view(-1)
        return Tally(tuple(torch.bincount(labels, minlength=256)[:IGNORE_INDEX].tolist()),
                     tuple(torch.bincount(labels, weights=weight, minlength=256)[:IGNORE_INDEX].tolist()))

    def prepared(self) -> "Batch":
        """The batch turned and counted already: what a worker can do for the process that trains."""
        return replace(self._each(lambda tensor: turned(tensor, self.turns)), turns=(0,) * len(self.turns),
                       counted=self.tally())

    def image(self) -> Tensor:
        """float32 NCHW in scene units, NaN = invalid or held out; channels last in memory, turned."""
        values = self.raw_NHWC.to(torch.float32, copy=True)
        values.masked_fill_(~self.visible_NHW.unsqueeze(-1), torch.nan)
        return turned(values, self.turns).permute(0, 3, 1, 2)

    def targets(self) -> tuple[Tensor, Tensor]:
        """Labels int64 NHW (255 = ignore) and their weights float32 NHW (0 where ignored), turned."""
        labels = turned(self.raw_labels_NHW, self.turns)
        weight = turned(self.raw_weight_NHW, self.turns).masked_fill(labels == IGNORE_INDEX, 0.0)
        return labels.to(torch.int64), weight


def turned(stacked_NHW: Tensor, turns: Sequence[int]) -> Tensor:
    """Each image (H, W, ...) mirrored left-right if its turn >= 4, then turned `turn % 4` quarters counter-clockwise.

    These are the eight flips and quarter turns of a square (the dihedral group D4).
    """
    if not any(turns):
        return stacked_NHW
    result = []
    for image, turn in zip(stacked_NHW, turns, strict=True):
        transposed, flips = _TURNS[turn]
        image = image.transpose(0, 1) if transposed else image
        result.append(image.flip(flips) if flips else image)
    return torch.stack(result)


def _references(arrays: Sequence[AnyArray]) -> list[int]:
    """How many references there are to each array."""
    return [sys.getrefcount(array) for array in arrays]


class Recycled:
    """Arrays to put batches into, used again once nobody refers to their tensors any more.

    A fresh array costs page faults that take longer than filling it, because the C library returns blocks of a batch's
    size to the system each time they are freed.
    """

    #: What is counted of an array that only its list refers to.
    _IDLE = _references([np.empty(0)])[0]

    def __init__(self) -> None:
        self._arrays: list[AnyArray] = []

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
        """An array of any content that nobody else has."""
        for references, array in zip(_references(self._arrays), self._arrays, strict=True):
            if references == self._IDLE and array.shape == shape and array.dtype == dtype:
                return array
        fresh: AnyArray = np.empty(shape, dtype)
        self._arrays.append(fresh)
        return fresh

    def stacked(self, arrays: Sequence[AnyArray]) -> AnyArray:
        """Copies of arrays of one shape, stacked in their common number type."""
        result = self.array((len(arrays), *arrays[0].shape), np.result_type(*{array.dtype for array in arrays}))
        return np.stack(arrays, out=result)


def collate(patches: Sequence[Patch], recycled: Recycled | None = None) -> Batch:
    """Stack patches, which copies their pixels, and hide the labels that training must not learn from."""
    stacked = (recycled or Recycled()).stacked
    visible, labels = masked(stacked([p.ground for p in patches]), stacked([p.valid for p in patches]),
                             stacked([p.labels for p in patches]))
    return Batch(torch.from_numpy(stacked([p.image for p in patches])), torch.from_numpy(visible),
                 torch.from_numpy(labels), torch.from_numpy(stacked([p.weight for p in patches])),
                 tuple(p.turn for p in patches), tuple(p.place for p in patches))
