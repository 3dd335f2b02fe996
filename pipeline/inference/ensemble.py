"""Several maps of one scene from one walk over its tiles: each member's forward pass is done once and used in each.

A map is a rule which members are averaged where: all of them everywhere (what is exported), one alone, or on every
fold's ground those that held it out (out-of-fold: no pixel is predicted by a member that trained on it).

Shape legend: C channels, K classes, H rows, W columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.inference.tiles import N, PixelSource, predict_each
from pipeline.inference.tta import average
from pipeline.params.evaluate import TileParams
from pipeline.types import IGNORE_INDEX, FloatArray, UInt8Array, Window

#: Gives the fold ids HW of a window inside the scene; a pixel whose fold no map names is predicted by no member.
FoldsOf = Callable[[Window], UInt8Array]


class Members(Protocol):
    """Members in an order, each at its place; inference.network.NetworkPredictor is one."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the input channels, in the order the members want."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id."""
        ...

    def of(self, place: int, image_NCHW: FloatArray) -> FloatArray:
        """float32 probabilities NKHW of the member at that place, for channels in which NaN means invalid."""
        ...

    def views_of(self, place: int, image_NCHW: FloatArray) -> list[FloatArray]:
        """The same from each view of the images (inference.tta.VIEWS); the first is `of`."""
        ...


@dataclass(frozen=True)
class Mean:
    """Places of the members that are averaged: `everywhere`, or by fold of the ground (one of both)."""

    everywhere: tuple[int, ...] = ()
    by_fold: Mapping[int, tuple[int, ...]] | None = None
    #: Each member averaged over the eight flips and turns of a tile.
    tta: bool = False


def held_out(folds: Sequence[int]) -> Mapping[int, tuple[int, ...]]:
    """Fold -> places of the members that held it out, from the fold of each member."""
    return {fold: tuple(i for i, f in enumerate(folds) if f == fold) for fold in sorted(set(folds))}


def walk(network: Members, maps: Mapping[N, Mean], source: PixelSource, tiles: TileParams,
         folds_of: FoldsOf | None = None) -> Iterator[tuple[Window, dict[N, FloatArray]]]:
    """Full-width windows from top to bottom with the blended probabilities KHW of every map.

    A map of all members everywhere is, bit for bit, that of `predict` with the same network. A map by fold means
    something only at pixels of its folds; tiles without such pixels cost nothing.

    Args:
        network: the members.
        maps: what to make, by name.
        source: the scene's channels.
        tiles: size and overlap.
        folds_of: needed where a map goes by fold.

    Raises:
        ModelError: the source's channels are not the network's.
    """

    def work(read: Callable[[], FloatArray], inside: Window) -> dict[N, FloatArray]:
        fold_HW = _padded(folds_of(inside), tiles.size_px) if folds_of else None
        tile = _Tile(network, read, views=any(mean.tta for mean in maps.values()))
        made: dict[N, FloatArray] = {}
        for name, mean in maps.items():
            if mean.by_fold is None:
                made[name] = average([tile.probs(i, mean.tta) for i in mean.everywhere])
                continue
            assert fold_HW is not None
            here = {fold: inside_HW for fold in mean.by_fold if (inside_HW := fold_HW == fold).any()}
            for fold, inside_HW in here.items():
                probs = average([tile.probs(i, mean.tta) for i in mean.by_fold[fold]])
                probs[:, ~inside_HW] = 0
                made[name] = made[name] + probs if name in made else probs
        return made

    yield from predict_each(work, list(maps), network.bands, len(network.classes), source, tiles)


class _Tile:
    """The members' probabilities of one tile, KHW, each computed when it is first asked for."""

    def __init__(self, network: Members, read: Callable[[], FloatArray], views: bool) -> None:
        self._network, self._read, self._with_views = network, read, views
        self._image: FloatArray | None = None
        self._plain: dict[int, FloatArray] = {}
        self._views: dict[int, FloatArray] = {}

    def probs(self, place: int, tta: bool) -> FloatArray:
        if self._image is None:
            self._image = self._read()
        if place not in self._plain and self._with_views:  # the first view is the tile as it is
            views = self._network.views_of(place, self._image)
            self._plain[place], self._views[place] = views[0][0], average(views)[0]
        if place not in self._plain:
            self._plain[place] = self._network.of(place, self._image)[0]
        return (self._views if tta else self._plain)[place]


def _padded(fold_HW: UInt8Array, size: int) -> UInt8Array:
    """The folds of a whole tile; none off the scene."""
    result = np.full((size, size), IGNORE_INDEX, dtype=np.uint8)
    result[: fold_HW.shape[0], : fold_HW.shape[1]] = fold_HW
    return result
