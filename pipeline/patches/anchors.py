"""Pools of labelled train pixels that windows are laid around: all of them, those of a class, those of an interface.

A pool numbers its pixels over all scenes. Only counts by row are kept; a pixel is found by its row's count and one look
at that row, so that scenes of any size need no index of all pixels.

Shape legend: H rows, W columns, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.patches.ground import TrainGround, scene_bands
from pipeline.types import AnyArray, BoolArray, UInt8Array, Window

#: Which pixels of a window (which must lie inside the scene) are meant, bool HW; pickled into worker processes.
Mark = Callable[[TrainGround, Window], BoolArray]


class Pool(Protocol):
    """Pixels numbered from 0 over all scenes."""

    @property
    def pixels(self) -> int:
        """How many there are."""
        ...

    def pixel(self, number: int) -> tuple[int, int, int]:
        """Number of the scene, row and column."""
        ...


class LabelledPixels:
    """All labelled train pixels."""

    def __init__(self, grounds: Sequence[TrainGround]) -> None:
        self._grounds = grounds
        self._ends = np.cumsum([ground.labelled for ground in grounds])

    @property
    def pixels(self) -> int:
        """How many there are."""
        return int(self._ends[-1])

    def pixel(self, number: int) -> tuple[int, int, int]:
        """Number of the scene, row and column."""
        place = int(self._ends.searchsorted(number, side="right"))
        return place, *self._grounds[place].pixel(number - (int(self._ends[place - 1]) if place else 0))


class MarkedPixels:
    """The labelled train pixels that a mark picks.

    Args:
        grounds: the scenes.
        cumulative_rows: for each scene, marked pixels up to and including each row, int64.
        mark: which pixels.
    """

    def __init__(self, grounds: Sequence[TrainGround], cumulative_rows: Sequence[AnyArray], mark: Mark) -> None:
        self._grounds, self._rows, self._mark = grounds, cumulative_rows, mark
        self._ends = np.cumsum([rows[-1] for rows in cumulative_rows])

    @property
    def pixels(self) -> int:
        """How many there are."""
        return int(self._ends[-1])

    def pixel(self, number: int) -> tuple[int, int, int]:
        """Number of the scene, row and column."""
        place = int(self._ends.searchsorted(number, side="right"))
        number -= int(self._ends[place - 1]) if place else 0
        rows, ground = self._rows[place], self._grounds[place]
        row = int(rows.searchsorted(number, side="right"))
        before = int(rows[row - 1]) if row else 0
        marked = self._mark(ground, Window(row, 0, 1, ground.scene.grid.width))[0]
        return place, row, int(marked.nonzero()[0][number - before])


@dataclass(frozen=True)
class OfClass:
    """Pixels of one class."""

    class_id: int

    def __call__(self, ground: TrainGround, window: Window) -> BoolArray:
        """Whether each pixel of the window is one, bool HW."""
        return np.asarray(ground.labels(window) == self.class_id)


@dataclass(frozen=True)
class OnInterface:
    """Pixels of either class with a pixel of the other above, below, left or right of it, both of them train ground."""

    first: int
    second: int

    def __call__(self, ground: TrainGround, window: Window) -> BoolArray:
        """Whether each pixel of the window is one, bool HW."""
        height, width = ground.scene.grid.shape
        top, left = max(0, window.row - 1), max(0, window.col - 1)
        bottom, right = min(height, window.row + window.height + 1), min(width, window.col + window.width + 1)
        labels = ground.labels(Window(top, left, bottom - top, right - left))
        first, second = labels == self.first, labels == self.second
        found = (first & _beside(second)) | (second & _beside(first))
        row, col = window.row - top, window.col - left
        return np.asarray(found[row:row + window.height, col:col + window.width])


def _beside(mask: BoolArray) -> BoolArray:
    """Pixels above, below, left or right of the mask's."""
    result = np.zeros_like(mask)
    result[1:] |= mask[:-1]
    result[:-1] |= mask[1:]
    result[:, 1:] |= mask[:, :-1]
    result[:, :-1] |= mask[:, 1:]
    return result


def class_pools(grounds: Sequence[TrainGround], classes: int) -> list[MarkedPixels]:
    """A pool for each class id, some perhaps empty, in one walk through the scenes."""
    counts = [np.concatenate([_by_class(ground.labels(band), classes) for band in scene_bands(ground.scene)])
              for ground in grounds]
    rows = [np.ascontiguousarray(scene.cumsum(axis=0, dtype=np.int64).T) for scene in counts]
    return [MarkedPixels(grounds, [scene[k] for scene in rows], OfClass(k)) for k in range(classes)]


def _by_class(labels_HW: UInt8Array, classes: int) -> AnyArray:
    """Pixels by row and class, int64 HK."""
    height = len(labels_HW)
    row, col = (labels_HW < classes).nonzero()
    counts: AnyArray = np.bincount(row * classes + labels_HW[row, col], minlength=height * classes)
    by_row: AnyArray = counts.reshape(height, classes)
    return by_row


def interface_pool(grounds: Sequence[TrainGround], first: int, second: int) -> MarkedPixels:
    """The pixels on the border of two classes, perhaps none."""
    mark = OnInterface(first, second)
    rows = [np.concatenate([mark(ground, band).sum(axis=1) for band in scene_bands(ground.scene)])
            .cumsum(dtype=np.int64) for ground in grounds]
    return MarkedPixels(grounds, rows, mark)
