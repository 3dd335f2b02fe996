"""Labels of a scene before and after refinement, compared band by band: against the truth, and with each other.

Shape legend: H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.geo.grid import Grid
from pipeline.metrics.confusion import Confusion, CountArray
from pipeline.scenes.burnt import BurntLabels, LabelSet, open_truth, scene_bands
from pipeline.types import BoolArray, Window

#: Side of the windows in which changes are counted, pixels.
DETAIL_PX = 160

#: What a window may be worth a look for, most telling first, and how a figure says so.
_REASONS = {"outlines": "where outlines changed most", "labels": "where labels changed most",
            "labelled": "unchanged, where most is labelled"}


@dataclass
class WindowCounts:
    """Pixels of interest, counted in a fixed raster of square windows; what is left at its edges counts in `total`."""

    height: int
    width: int
    total: int = 0
    counts: CountArray = field(init=False)

    def __post_init__(self) -> None:
        self.size = min(DETAIL_PX, self.height, self.width)
        self.counts = np.zeros((self.height // self.size, self.width // self.size), dtype=np.int64)

    def add(self, band: Window, mask_HW: BoolArray) -> None:
        """Count the pixels of a full-width band."""
        self.total += int(np.count_nonzero(mask_HW))
        rows, cols = self.counts.shape
        by_row = mask_HW[:, : cols * self.size].reshape(len(mask_HW), cols, self.size).sum(axis=2)
        place = np.arange(band.row, band.row + band.height) // self.size
        np.add.at(self.counts, place[place < rows], by_row[place < rows])

    def busiest(self) -> Window:
        """The window with most pixels, the first of equals."""
        row, col = divmod(int(self.counts.argmax()), self.counts.shape[1])
        return Window(row * self.size, col * self.size, self.size, self.size)


@dataclass(frozen=True)
class Comparison:
    """Label confusions against the truth (None where there is none), and the window most worth a look, in words."""

    before: Confusion | None
    after: Confusion | None
    detail: Window
    reason: str


def compare(labels: LabelSet, grid: Grid, reference: Path) -> Comparison:
    """Burn both label sets of a scene, and count.

    Args:
        labels: the scene's (`LabelSet.of_scene`).
        grid: the scene's own.
        reference: the folder of the truth; need not exist.
    """
    burnt = [BurntLabels.of(frame, grid, labels.classes, labels.fill) for frame in (labels.unrefined, labels.refined)]
    worth = {reason: WindowCounts(*grid.shape) for reason in _REASONS}
    confusions: Sequence[Confusion] = [Confusion.empty(len(labels.classes))] * 2
    with open_truth(reference, grid, labels.classes) as truth:
        for band in scene_bands(grid):
            before, after = (label.classes(band) for label in burnt)
            changed = before != after
            worth["outlines"].add(band, changed & (before != labels.fill))
            worth["labels"].add(band, changed)
            worth["labelled"].add(band, after != labels.fill)
            if truth is not None:
                true = truth(band)
                confusions = [sums.merge(Confusion.of(true, ids, sums.k))
                              for sums, ids in zip(confusions, (before, after), strict=True)]
        known = confusions if truth is not None else (None, None)
    chosen = next((reason for reason in _REASONS if worth[reason].total), "labelled")
    return Comparison(known[0], known[1], worth[chosen].busiest(), _REASONS[chosen])
