"""Val scores during training: each val block once, with its surroundings as context.

Blocks are predicted in windows of their own instead of the whole scene, which costs a fraction of a full map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from scipy.ndimage import find_objects

from pipeline.errors import ModelError
from pipeline.inference.sources import StorePixels
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import iou, macro_iou, mcc
from pipeline.networks.segmenter import Segmenter
from pipeline.params.train import TrainParams
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.split import Split
from pipeline.types import IGNORE_INDEX, FloatArray, UInt8Array, Window

#: Pixels of one forward pass.
_BATCH_PIXELS = 32 * 128 * 128


@dataclass(frozen=True)
class _ValBlock:
    """A val block: its own pixels inside `inner`, and the larger window the network reads (may reach off the scene)."""

    scene: Scene
    number: int
    inner: tuple[slice, slice]
    window: Window


class ValScorer:
    """Scores a segmenter on the val part against the refined labels (mcc, macro_iou, iou_<class>)."""

    def __init__(self, store: SceneStore, split: Split, context_px: int, multiple: int) -> None:
        self._split = split
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
        counts = np.zeros(256, dtype=np.int64)
        for block in self._blocks:
            counts += np.bincount(_load(block, self._split)[1].ravel(), minlength=256)
        present = [name for i, name in enumerate(self._split.classes) if counts[i]]
        needed = monitor.removeprefix("iou:")
        if len(present) < (2 if monitor == "mcc" else 1) or (monitor.startswith("iou:") and needed not in present):
            raise ModelError(f"train.monitor {monitor} must be defined on the val part: it has labels of "
                             f"{present or 'no class'} only; monitor another score, or split again")

    def __call__(self, segmenter: Segmenter) -> dict[str, float]:
        """Val scores of the segmenter in its present state; NaN where a score is undefined."""
        device = next(segmenter.parameters()).device
        classes = self._split.classes
        total = Confusion.empty(len(classes))
        with torch.inference_mode():
            for (height, width), alike in groupby(self._blocks, key=lambda b: (b.window.height, b.window.width)):
                for batch in _chunks(list(alike), max(1, _BATCH_PIXELS // (height * width))):
                    loaded = [_load(block, self._split) for block in batch]
                    images = torch.from_numpy(np.stack([image for image, _ in loaded])).to(device)
                    predicted = segmenter(images).argmax(dim=1).cpu().numpy().astype(np.uint8)
                    truth = np.stack([labels for _, labels in loaded])
                    total = total.merge(Confusion.of(truth, predicted, len(classes)))
        by_class = iou(total)
        return {"mcc": mcc(total), "macro_iou": macro_iou(total),
                **{f"iou_{name}": float(by_class[i]) for i, name in enumerate(classes)}}


def _chunks(blocks: list[_ValBlock], size: int) -> Iterator[list[_ValBlock]]:
    return (blocks[i:i + size] for i in range(0, len(blocks), size))


def _blocks(scene: Scene, split: Split, context: int, multiple: int) -> Iterator[_ValBlock]:
    in_val = np.where(split.mask(split.fold_map(scene.id), "val"), split.block_map(scene.id), 0)
    for number, inner in enumerate(find_objects(in_val), 1):
        if inner is None:
            continue
        height, width = (s.stop - s.start for s in inner)
        rows, cols = (-(-(n + 2 * context) // multiple) * multiple for n in (height, width))
        window = Window(inner[0].start - (rows - height) // 2, inner[1].start - (cols - width) // 2, rows, cols)
        yield _ValBlock(scene, number, inner, window)


def _load(block: _ValBlock, split: Split) -> tuple[FloatArray, UInt8Array]:
    """Image CHW of the window (NaN off the scene), and labels HW that are 255 outside the block's own pixels."""
    scene, window, inner = block.scene, block.window, block.inner
    image = np.full((len(scene.bands), window.height, window.width), np.nan, dtype=np.float32)
    labels = np.full((window.height, window.width), IGNORE_INDEX, dtype=np.uint8)
    top, left = max(window.row, 0), max(window.col, 0)
    bottom, right = min(window.row + window.height, scene.grid.height), min(window.col + window.width, scene.grid.width)
    image[:, top - window.row:bottom - window.row, left - window.col:right - window.col] = StorePixels(scene).read(
        Window(top, left, bottom - top, right - left))
    own = (split.block_map(scene.id)[inner] == block.number) & (scene.valid[inner] == 1)
    place = tuple(slice(s.start - o, s.stop - o) for s, o in zip(inner, (window.row, window.col), strict=True))
    labels[place] = np.where(own, split.lut[scene.labels[inner]], IGNORE_INDEX)
    return image, labels
