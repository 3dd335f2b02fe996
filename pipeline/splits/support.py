"""How much of each class every block holds: pixels and objects, counted once; an assignment is a matrix sum.

An object is a 4-connected area of one class in the (refined) label raster. It counts for the part that holds
most of it, and for every other part that holds at least `min_pixels` of it: so a field of 300 pixels counts
once, yet a background that hangs together all over the scene supports every part. What the buffer takes from train
counts for no part: an object of train that lies wholly within it does not count.

Shape legend: B blocks (index = id - 1), C zones of blocks (see `zones`), K classes, S objects not in `single`,
P parts (train, val, test).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import block_diag, coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pipeline.fanout import fan_out
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.blocks import Blocks, SceneBlocks, bands_of
from pipeline.splits.split import Part
from pipeline.splits.zones import MASKS, Reach, held_bits, neighbour_table, zone_of
from pipeline.types import IGNORE_INDEX, AnyArray, BoolArray, UInt8Array

Counts = npt.NDArray[np.int64]

#: Order of the parts in every axis P.
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Support:
    """Counts by zone and class; a zone is the pixels of a block that the buffers of the same neighbours may reach.

    Attributes:
        block: block of each zone, C.
        mask: bits of the neighbours that may reach a zone, C.
        zone_pixels: labelled valid pixels, CK.
        neighbours: neighbours of each block, B8, see `zones.neighbour_table`.
        single: objects that lie in one block, out of reach of all neighbours at least in part, BK.
        spread: pixels of all other objects, sparse SC.
        spread_class: class of those objects, S.
    """

    block: npt.NDArray[np.intp]
    mask: UInt8Array
    zone_pixels: Counts
    neighbours: npt.NDArray[np.int32]
    single: Counts
    spread: csr_array
    spread_class: npt.NDArray[np.intp]

    @cached_property
    def pixels(self) -> Counts:
        """Labelled valid pixels by block and class, BK."""
        return self._by_block(self.zone_pixels)

    @cached_property
    def core(self) -> Counts:
        """Those of them that no buffer can reach, whatever the neighbouring blocks become, BK."""
        return self._by_block(self.zone_pixels * (self.mask == 0)[:, None])

    def _by_block(self, counts: Counts) -> Counts:
        result = np.zeros(self.single.shape, dtype=np.int64)
        np.add.at(result, self.block, counts)
        return result

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
        zones = counts[self.block]
        spread = self.spread[:, np.flatnonzero(zones)]
        left = spread.sum(axis=1) > 0
        return Support(self.block[zones], self.mask[zones], self.zone_pixels[zones], self.neighbours,
                       self.single * counts[:, None], spread[left], self.spread_class[left])

    def without_buffer(self) -> "Support":
        """The same ground where no buffer takes anything."""
        return replace(self, mask=np.zeros_like(self.mask))

    def part_of_zone(self, part_of_block: AnyArray) -> AnyArray:
        """Part of each zone, C, for a part index of each block, B; -1 for train zones that the buffer takes."""
        held = held_bits(part_of_block > 0, self.neighbours)
        part = part_of_block[self.block]
        return np.where((part == 0) & (held[self.block] & self.mask > 0), -1, part)

    def train_pixels(self, part_of_block: AnyArray) -> Counts:
        """Labelled pixels of each class in train that no buffer takes, K."""
        trains = (self.part_of_zone(part_of_block) == 0).astype(np.float64)  # exact, and faster than integers
        return np.asarray(trains @ self.zone_pixels, dtype=np.int64)

    def objects_by_part(self, part_of_block: AnyArray, min_pixels: int) -> Counts:
        """For one assignment (part index of each block, B), objects that count for each part, PK."""
        return self._objects(part_of_block, self.part_of_zone(part_of_block), min_pixels, len(PARTS))

    def objects_by_group(self, group_of_block: AnyArray, min_pixels: int, groups: int) -> Counts:
        """The same for any groups of blocks, without a buffer between them."""
        return self._objects(group_of_block, group_of_block[self.block], min_pixels, groups)

    def _objects(self, group_of_block: AnyArray, group_of_zone: AnyArray, min_pixels: int, groups: int) -> Counts:
        single = np.stack([self.single[group_of_block == g].sum(axis=0) for g in range(groups)])
        whole, held = (np.asarray(self.spread @ (g[:, None] == np.arange(groups)).astype(np.float64))
                       for g in (group_of_block[self.block], group_of_zone))
        return single + counted(whole, held, self.spread_class, min_pixels, self.single.shape[1])


def counted(whole: npt.NDArray[np.float64], held: npt.NDArray[np.float64], class_of: npt.NDArray[np.intp],
            min_pixels: int, classes: int) -> Counts:
    """For how many objects of each class each part counts, PK.

    Args:
        whole: pixels of each object in each part, SP.
        held: those of them that no buffer takes, SP.
        class_of: class of each object, S.
        min_pixels: so many let an object count for a part that does not hold most of it.
        classes: number of classes.
    """
    counts = held >= min_pixels
    counts[np.arange(len(whole)), whole.argmax(axis=1)] = True
    counts &= held > 0
    return np.stack([np.bincount(class_of[counts[:, p]], minlength=classes) for p in range(held.shape[1])])


def count_support(store: SceneStore, blocks: Blocks, lut: UInt8Array, classes: int,
                  buffer_m: float) -> Support:
    """Count a store's refined labels by block, zone and class, band by band.

    Args:
        store: the scene store.
        blocks: its blocks.
        lut: class ids of the store -> class ids to count (256 uint8).
        classes: number of classes to count.
        buffer_m: how far labels of train blocks must lie from held-out blocks.
    """
    grids = tuple((scene.id, scene.grid) for scene in store)
    jobs = [_Job(scene, blocks[scene.id], blocks.count, lut, classes, Reach.of(scene.id, grids, buffer_m))
            for scene in store]
    found = fan_out(_count_scene, jobs, "support")
    spread = block_diag([s.spread for s in found], format="csr") if len(found) > 1 else found[0].spread
    block, mask, pixels, table = (np.concatenate([getattr(s, f) for s in found])
                                  for f in ("block", "mask", "zone_pixels", "neighbours"))
    single = sum((s.single for s in found[1:]), start=found[0].single)
    return Support(block, mask, pixels, table, single, csr_array(spread),
                   np.concatenate([s.spread_class for s in found]))


@dataclass(frozen=True)
class _Job:
    scene: Scene
    laid: SceneBlocks
    blocks: int
    lut: UInt8Array
    classes: int
    reach: Reach


def _count_scene(job: _Job) -> Support:
    """The support of one scene's blocks; `neighbours` of these only."""
    tally = ObjectTally(job.scene.grid.width)
    for band in bands_of(job.scene.grid):
        zone = job.laid.ids_in(band) * np.int32(len(MASKS))  # 45 million blocks fit
        if job.reach.metres > 0:
            zone += zone_of(job.laid, band, job.reach.metres)
        tally.add(labelled_band(job.scene, job.lut, band.slices), zone)
    return _support(job, *tally.finish())


def _support(job: _Job, held: coo_array, class_of: npt.NDArray[np.intp]) -> Support:
    """The support of a scene, from the pixels of each object in each zone (numbered by block id and mask)."""
    zones, column = np.unique(held.col, return_inverse=True)
    block, table = zones // len(MASKS) - 1, neighbour_table(job.laid, job.reach, job.blocks)
    absent = held_bits(np.zeros(job.blocks, dtype=bool), np.where(table == job.blocks, job.blocks + 1, job.blocks))
    first = int(job.laid.ids[job.laid.ids > 0].min(initial=job.blocks + 1)) - 1
    mask = MASKS[zones % len(MASKS)] & ~absent[block - first]
    pixels = np.zeros((len(zones), job.classes), dtype=np.int64)
    np.add.at(pixels, (column, class_of[held.row]), held.data)
    safe = np.zeros(len(class_of), dtype=bool)
    safe[held.row[mask[column] == 0]] = True
    least, most = np.full(len(class_of), job.blocks), np.full(len(class_of), -1)
    np.minimum.at(least, held.row, block[column])
    np.maximum.at(most, held.row, block[column])
    alone = (least == most) & safe
    single = np.zeros((job.blocks, job.classes), dtype=np.int64)
    np.add.at(single, (least[alone], class_of[alone]), 1)
    spread = csr_array((held.data.astype(np.float64), (held.row, column)), shape=(len(class_of), len(zones)))
    return Support(block.astype(np.intp), mask, pixels, table, single,
                   spread[np.flatnonzero(~alone)], class_of[~alone])


def labelled_band(scene: Scene, lut: UInt8Array, slices: tuple[slice, slice]) -> UInt8Array:
    """Refined class ids after `lut`, 255 where there is no label or the image is invalid."""
    label: UInt8Array = lut[scene.labels[slices]]
    label[scene.valid[slices] == 0] = IGNORE_INDEX
    return label


class ObjectTally:
    """Connected components of a scene: each band is labelled by itself, then joined to the last row before it."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._classes: list[AnyArray] = []
        self._pieces: list[AnyArray] = []
        self._joins: list[AnyArray] = []
        self._last_label = np.full(width, IGNORE_INDEX, dtype=np.uint8)
        self._last_piece = np.zeros(width, dtype=np.int64)

    def add(self, label: UInt8Array, zone: AnyArray, counts: BoolArray | None = None) -> None:
        """Take the next band: class ids, the number of each pixel's zone, and which pixels count (None: all)."""
        piece = np.full(label.shape, -1, dtype=np.int32)
        start = self._count
        for c in np.unique(label[label != IGNORE_INDEX]):
            components, found = ndimage.label(label == c)
            inside = components > 0
            piece[inside] = components[inside] + (self._count - 1)
            self._classes.append(np.full(found, c, dtype=np.intp))
            self._count += found
        known = piece >= 0
        self._joins.append(self._joins_with(label[0], piece[0], known[0]))
        self._last_label, self._last_piece = label[-1].copy(), piece[-1].astype(np.int64)
        if counts is not None:
            known &= counts
        zones = zone[known]
        lowest = int(zones.min()) if len(zones) else 0
        shape = (self._count - start, int(zones.max(initial=lowest)) - lowest + 1)
        held = coo_array((np.ones(len(zones), dtype=np.int64), (piece[known] - start, zones - lowest)),
                         shape=shape).tocsr().tocoo()
        self._pieces.append(np.stack([held.row.astype(np.int64) + start, held.col.astype(np.int64) + lowest,
                                      held.data]))

    def _joins_with(self, label: UInt8Array, piece: AnyArray, known: BoolArray) -> AnyArray:
        same = (label == self._last_label) & known
        return np.stack([self._last_piece[same], piece[same]]).astype(np.int64)

    def finish(self) -> tuple[coo_array, npt.NDArray[np.intp]]:
        """Pixels of each object by zone (sparse, rows are objects), and the objects' classes."""
        joins = np.concatenate(self._joins, axis=1)
        links = coo_array((np.ones(joins.shape[1]), (joins[0], joins[1])), shape=(self._count, self._count))
        count, root = connected_components(links, directed=False)
        class_of = np.zeros(count, dtype=np.intp)
        if self._count:
            class_of[root] = np.concatenate(self._classes)
        piece, zone, pixels = np.concatenate(self._pieces, axis=1)
        held = coo_array((pixels, (root[piece], zone)), shape=(count, int(zone.max(initial=0)) + 1))
        return held.tocsr().tocoo(), class_of
