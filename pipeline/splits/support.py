"""How much of each class every block holds: pixels and objects, counted once; an assignment is a matrix sum.

An object is a 4-connected area of one class in the (refined) label raster. It counts for the part that holds
most of it, and for every other part that holds at least `min_pixels` of it: so a field of 300 pixels counts
once, yet a background that hangs together all over the scene supports every part.

Shape legend: B blocks (index = id - 1), K classes, S objects in several blocks, P parts (train, val, test).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array, csr_array, diags_array, vstack
from scipy.sparse.csgraph import connected_components

from pipeline.fanout import fan_out
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.blocks import Blocks, SceneBlocks, bands_of
from pipeline.splits.buffer import may_reach_in
from pipeline.splits.split import Part
from pipeline.types import IGNORE_INDEX, AnyArray, UInt8Array

Counts = npt.NDArray[np.int64]

#: Order of the parts in every axis P.
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Support:
    """Counts by block and class.

    Attributes:
        pixels: labelled valid pixels, BK.
        core: those of them that no buffer can reach, whatever the neighbouring blocks become, BK.
        single: objects that lie in one block, BK.
        spread: pixels of the objects that lie in several blocks, sparse SB.
        spread_class: class of those objects, S.
    """

    pixels: Counts
    core: Counts
    single: Counts
    spread: csr_array
    spread_class: npt.NDArray[np.intp]

    @property
    def objects(self) -> Counts:
        """Objects of each class, K."""
        spread: Counts = np.bincount(self.spread_class, minlength=self.single.shape[1])
        single: Counts = self.single.sum(axis=0)
        return single + spread

    def once(self, place: npt.NDArray[np.intp], scene: AnyArray) -> "Support":
        """The support that counts ground once where several scenes show it (dates of one footprint).

        Of each place, only the blocks of the scene with most labelled pixels count (the first of equals), so
        an object of which two scenes must supply a part counts as two.

        Args:
            place: place of each block, B.
            scene: index of the scene of each block, B.
        """
        labelled = self.pixels.sum(axis=1)
        by_scene = np.zeros((int(place.max()) + 1, int(scene.max()) + 1), dtype=np.int64)
        np.add.at(by_scene, (place, scene), labelled + 1)  # + 1: a place without labels has a scene too
        counts = by_scene.argmax(axis=1)[place] == scene
        spread = (self.spread @ diags_array(counts.astype(np.float64))).tocsr()
        left = spread.sum(axis=1) > 0
        kept = counts[:, None]
        return Support(self.pixels * kept, self.core * kept, self.single * kept, spread[left],
                       self.spread_class[left])

    def spread_by_part(self, part_of_block: AnyArray, min_pixels: int, parts: int = len(PARTS)) -> Counts:
        """For one assignment (part index of each block, B), spread objects that count for each part, PK."""
        classes = self.single.shape[1]
        one_hot = (part_of_block[:, None] == np.arange(parts)).astype(np.float64)
        held = self.spread @ one_hot
        counts = held >= min_pixels
        counts[np.arange(len(held)), held.argmax(axis=1)] = True
        return np.stack([np.bincount(self.spread_class[counts[:, p]], minlength=classes) for p in range(parts)])

    def objects_by_part(self, part_of_block: AnyArray, min_pixels: int, parts: int = len(PARTS)) -> Counts:
        """For one assignment, how many objects of each class count for each part, PK.

        Parts may be any `parts` groups of blocks, such as folds.
        """
        single = np.stack([self.single[part_of_block == p].sum(axis=0) for p in range(parts)])
        return single + self.spread_by_part(part_of_block, min_pixels, parts)


def count_support(store: SceneStore, blocks: Blocks, lut: UInt8Array, classes: int,
                  buffer_m: float) -> Support:
    """Count a store's refined labels by block and class, band by band.

    Args:
        store: the scene store.
        blocks: its blocks.
        lut: class ids of the store -> class ids to count (256 uint8).
        classes: number of classes to count.
        buffer_m: see `Support.core`.
    """
    grids = tuple((scene.id, scene.grid) for scene in store)
    jobs = [_Job(scene, blocks[scene.id], blocks.count, lut, classes, buffer_m,
                 not may_reach_in(scene.id, grids, buffer_m)) for scene in store]
    found = fan_out(_count_scene, jobs, "support")
    pixels, core, single = (sum((getattr(s, f) for s in found[1:]), start=getattr(found[0], f))
                            for f in ("pixels", "core", "single"))
    return Support(pixels, core, single, vstack([s.spread for s in found]).tocsr(),
                   np.concatenate([s.spread_class for s in found]))


@dataclass(frozen=True)
class _Job:
    scene: Scene
    laid: SceneBlocks
    blocks: int
    lut: UInt8Array
    classes: int
    buffer_m: float
    alone: bool


def _count_scene(job: _Job) -> Support:
    """The support of one scene's blocks; those of other scenes have none."""
    pixels = np.zeros((job.blocks + 1, job.classes), dtype=np.int64)
    core = np.zeros_like(pixels)
    tally = _ObjectTally(job.blocks + 1, job.scene.grid.width)
    for band in bands_of(job.scene.grid):
        label = labelled_band(job.scene, job.lut, band.slices)
        ids = job.laid.ids_in(band)
        known = label != IGNORE_INDEX
        pixels += _by_block(ids[known], label[known], pixels.shape)
        known &= job.laid.core(band, job.buffer_m, job.alone)
        core += _by_block(ids[known], label[known], pixels.shape)
        tally.add(label, ids)
    return Support(pixels[1:], core[1:], *tally.finish(job.classes))


def labelled_band(scene: Scene, lut: UInt8Array, slices: tuple[slice, slice]) -> UInt8Array:
    """Refined class ids after `lut`, 255 where there is no label or the image is invalid."""
    label: UInt8Array = lut[scene.labels[slices]]
    label[scene.valid[slices] == 0] = IGNORE_INDEX
    return label


def _by_block(ids: AnyArray, label: AnyArray, shape: tuple[int, ...]) -> Counts:
    keys = ids.astype(np.int64) * shape[1] + label
    return np.bincount(keys, minlength=shape[0] * shape[1]).reshape(shape)


class _ObjectTally:
    """Connected components of a scene: each band is labelled by itself, then joined to the last row before it."""

    def __init__(self, blocks: int, width: int) -> None:
        self._blocks = blocks
        self._count = 0
        self._classes: list[AnyArray] = []
        self._pieces: list[AnyArray] = []
        self._joins: list[AnyArray] = []
        self._last_label = np.full(width, IGNORE_INDEX, dtype=np.uint8)
        self._last_piece = np.zeros(width, dtype=np.int64)

    def add(self, label: UInt8Array, ids: AnyArray) -> None:
        piece = np.full(label.shape, -1, dtype=np.int32)
        start = self._count
        for c in np.unique(label[label != IGNORE_INDEX]):
            components, found = ndimage.label(label == c)
            inside = components > 0
            piece[inside] = components[inside] + (self._count - 1)
            self._classes.append(np.full(found, c, dtype=np.intp))
            self._count += found
        known = piece >= 0
        ones = np.ones(np.count_nonzero(known), dtype=np.int64)
        held = coo_array((ones, (piece[known] - start, ids[known])),
                         shape=(self._count - start, self._blocks)).tocsr().tocoo()
        self._pieces.append(np.stack([held.row.astype(np.int64) + start, held.col, held.data]))
        same = (label[0] == self._last_label) & known[0]
        self._joins.append(np.stack([self._last_piece[same], piece[0][same]]).astype(np.int64))
        self._last_label, self._last_piece = label[-1].copy(), piece[-1].astype(np.int64)

    def finish(self, classes: int) -> tuple[Counts, csr_array, npt.NDArray[np.intp]]:
        """Objects in one block by block and class (BK); the others' pixels by block (SB) and classes (S)."""
        joins = np.concatenate(self._joins, axis=1)
        links = coo_array((np.ones(joins.shape[1]), (joins[0], joins[1])), shape=(self._count, self._count))
        count, root = connected_components(links, directed=False)
        class_of = np.zeros(count, dtype=np.intp)
        if self._count:
            class_of[root] = np.concatenate(self._classes)
        piece, block, pixels = np.concatenate(self._pieces, axis=1)
        held = coo_array((pixels, (root[piece], block - 1)), shape=(count, self._blocks - 1)).tocsr()
        blocks_of = np.diff(held.indptr)
        alone = blocks_of == 1
        single = np.zeros((self._blocks - 1, classes), dtype=np.int64)
        np.add.at(single, (held[alone].indices, class_of[alone]), 1)
        return single, held[~alone].astype(np.float64), class_of[~alone]
