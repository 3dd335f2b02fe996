"""Val scores during training: each val block once, with its surroundings as context.

Blocks are predicted in windows of their own instead of the whole scene, which costs a fraction of a full map; only
where they lie is kept, and pixels are read from the memory maps as they are scored.

These scores choose epochs (`select: best`, early stopping) and trials, so test ground has no say in them: the network
sees it as invalid, as it sees ground off the scene. A finished model's val scores, in evaluate, decide nothing about
its weights and keep the full context, as its maps do; near test ground the two may differ a little.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise, product

import numpy as np
import torch
from scipy.ndimage import find_objects
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.geo.windows import row_bands
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import iou, macro_iou, mcc
from pipeline.networks.segmenter import Segmenter
from pipeline.params.train import TrainParams
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, AnyArray, FloatArray, UInt8Array, Window

#: Pixels of one forward pass.
_BATCH_PIXELS = 32 * 128 * 128

#: Larger blocks are scored in pieces.
_PIECE_PX = 512

#: Pixels looked at in one go when blocks are searched for.
_BAND_PIXELS = 1_000_000


#: First row, row after the last, first column, column after the last.
_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _SealedPixels(StorePixels):
    """The pixels of a scene of the store, without those of test ground."""

    split: Split

    def read(self, window: Window) -> FloatArray:
        """float32 CHW scene values of a window; NaN where the scene is invalid and on test ground."""
        image = super().read(window)
        image[:, self.split.mask(self.split.fold_map(self.scene.id)[window.slices], "test")] = np.nan
        return image


@dataclass(frozen=True)
class _ValBlock:
    """A val block or a piece of it: its pixels inside `inner`, and the larger window the network reads.

    The window may reach off the scene. `block_HW` is the scene's memory-mapped block map.
    """

    scene: Scene
    block_HW: AnyArray
    number: int
    inner: tuple[slice, slice]
    window: Window


class ValScorer:
    """Scores a segmenter on the val part against the refined labels (mcc, macro_iou, iou_<class>)."""

    def __init__(self, store: SceneStore, split: Split, recipe: ChannelRecipe, context_px: int, multiple: int) -> None:
        self._split, self._recipe = split, recipe
        blocks = [b for scene in store for b in _blocks(scene, split, context_px, multiple)]
        self._blocks = sorted(blocks, key=lambda b: (b.window.height, b.window.width))

    def check(self, params: TrainParams) -> None:
        """See that the monitored score is defined on the val part, if it has a say in the training.

        Raises:
            ModelError: the val part has no label that could define it.
        """
        if not params.val_decides:
            return
        monitor = params.monitor
        counts = self.label_counts()
        present = [name for i, name in enumerate(self._split.classes) if counts[i]]
        needed = monitor.removeprefix("iou:")
        if len(present) < (2 if monitor == "mcc" else 1) or (monitor.startswith("iou:") and needed not in present):
            raise ModelError(f"train.monitor {monitor} must be defined on the val part: it has labels of "
                             f"{present or 'no class'} only; monitor another score, or split again")

    @property
    def largest_NHW(self) -> tuple[int, int, int] | None:
        """Windows, rows and columns of the largest batch that the segmenter is handed; None without val ground."""
        batches = [(min(len(list(alike)), _windows(*size)), *size) for size, alike in self._groups()]
        return max(batches, key=math.prod, default=None)

    def _groups(self) -> Iterator[tuple[tuple[int, int], Iterator[_ValBlock]]]:
        """Blocks whose windows are of one size, by height and width."""
        return groupby(self._blocks, key=lambda b: (b.window.height, b.window.width))

    def __call__(self, segmenter: Segmenter) -> dict[str, float]:
        """Val scores of the segmenter in its present state; NaN where a score is undefined."""
        return self.scores(self.confusion(segmenter))

    def scores(self, total: Confusion) -> dict[str, float]:
        """Val scores by name of the counts of all val pixels."""
        by_class = iou(total)
        return {"mcc": mcc(total), "macro_iou": macro_iou(total),
                **{f"iou_{name}": float(by_class[i]) for i, name in enumerate(self._split.classes)}}

    def confusion(self, segmenter: Segmenter) -> Confusion:
        """Counts of all labelled val pixels."""
        classes = len(self._split.classes)
        total = Confusion.empty(classes)
        for logits, truth in self.logits(segmenter):
            with torch.inference_mode():
                predicted = segmenter.decode(logits).argmax(dim=1).cpu().numpy().astype(np.uint8)
            total = total.merge(Confusion.of(truth, predicted, classes))
        return total

    def logits(self, segmenter: Segmenter) -> Iterator[tuple[Tensor, UInt8Array]]:
        """Batch by batch: logits NKHW on the segmenter's device, and labels NHW, 255 but for each val pixel once."""
        device = next(segmenter.parameters()).device
        for size, alike in self._groups():
            for batch in _chunks(list(alike), _windows(*size)):
                images = np.stack([_image(block, self._split, self._recipe) for block in batch])
                with torch.inference_mode():
                    logits = segmenter(torch.from_numpy(images).to(device))
                yield logits, np.stack([_labels(block, self._split) for block in batch])

    def label_counts(self) -> AnyArray:
        """Labelled val pixels by class id, 256 int64; 255 counts those without label."""
        counts = np.zeros(256, dtype=np.int64)
        for block in self._blocks:
            counts += np.bincount(_labels(block, self._split).ravel(), minlength=256)
        return counts


def _windows(height: int, width: int) -> int:
    """How many windows of a size make a batch."""
    return max(1, _BATCH_PIXELS // (height * width))


def _chunks(blocks: list[_ValBlock], size: int) -> Iterator[list[_ValBlock]]:
    return (blocks[i:i + size] for i in range(0, len(blocks), size))


def _blocks(scene: Scene, split: Split, context: int, multiple: int) -> Iterator[_ValBlock]:
    block_HW = np.asarray(split.block_map(scene.id))
    for number, box in sorted(_boxes(scene, split, block_HW).items()):
        for inner in product(_pieces(*box[:2]), _pieces(*box[2:])):
            height, width = (s.stop - s.start for s in inner)
            rows, cols = (-(-(n + 2 * context) // multiple) * multiple for n in (height, width))
            window = Window(inner[0].start - (rows - height) // 2, inner[1].start - (cols - width) // 2, rows, cols)
            yield _ValBlock(scene, block_HW, number, inner, window)


def _boxes(scene: Scene, split: Split, block_HW: AnyArray) -> dict[int, _Box]:
    """Block id -> the box around its val pixels, found row band by row band."""
    fold_HW = split.fold_map(scene.id)
    boxes: dict[int, _Box] = {}
    for band in row_bands(*scene.grid.shape, max(1, _BAND_PIXELS // scene.grid.width)):
        in_val = np.where(split.mask(fold_HW[band.slices], "val"), block_HW[band.slices], 0)
        if not in_val.any():
            continue
        first = int(in_val[in_val > 0].min())
        for number, found in enumerate(find_objects(np.maximum(in_val - (first - 1), 0)), first):
            if found is not None:
                rows, cols = found
                box = (band.row + rows.start, band.row + rows.stop, cols.start, cols.stop)
                top, bottom, left, right = boxes.get(number, box)
                boxes[number] = (min(top, box[0]), max(bottom, box[1]), min(left, box[2]), max(right, box[3]))
    return boxes


def _pieces(start: int, stop: int) -> list[slice]:
    """The range in equal parts (within a pixel) of at most _PIECE_PX."""
    parts = -(-(stop - start) // _PIECE_PX)
    edges = [start + (stop - start) * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _image(block: _ValBlock, split: Split, recipe: ChannelRecipe) -> FloatArray:
    """Channels CHW of the window; NaN off the scene and on test ground."""
    scene, window = block.scene, block.window
    image = np.full((len(recipe.channels), window.height, window.width), np.nan, dtype=np.float32)
    top, left = max(window.row, 0), max(window.col, 0)
    bottom, right = min(window.row + window.height, scene.grid.height), min(window.col + window.width, scene.grid.width)
    pixels = ChannelPixels(_SealedPixels(scene, split), recipe).read(Window(top, left, bottom - top, right - left))
    image[:, top - window.row:bottom - window.row, left - window.col:right - window.col] = pixels
    return image


def _labels(block: _ValBlock, split: Split) -> UInt8Array:
    """Class ids HW of the window, 255 outside the block's own pixels."""
    scene, window, inner = block.scene, block.window, block.inner
    labels = np.full((window.height, window.width), IGNORE_INDEX, dtype=np.uint8)
    own = (block.block_HW[inner] == block.number) & (scene.valid[inner] == 1)
    place = tuple(slice(s.start - o, s.stop - o) for s, o in zip(inner, (window.row, window.col), strict=True))
    labels[place] = np.where(own, split.lut[scene.labels[inner]], IGNORE_INDEX)
    return labels
