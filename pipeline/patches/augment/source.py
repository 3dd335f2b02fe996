"""Patches of a source, with parts of other patches put in and warped: the same for the same (seed, epoch, index)."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import ModelError
from pipeline.params.augment import AugmentParams
from pipeline.patches.augment.mix import copy_paste, cutmix
from pipeline.patches.augment.pixels import closed, opened
from pipeline.patches.augment.warp import coordinates, warped
from pipeline.patches.source import Patch, PatchSource
from pipeline.seeding import generator
from pipeline.types import AnyArray

#: How far the indices of a patch's donors lie from its own: no epoch has as many draws.
_CUTMIX_DONOR, _PASTE_DONOR = 1 << 30, 1 << 31


class Augmented:
    """A source whose patches get a rectangle of another, then pasted classes, and then are warped.

    The flip or quarter turn stays to be made on the batch, so a donor is turned with the patch it comes into.
    """

    def __init__(self, source: PatchSource, params: AugmentParams, seed: int, pasted: Sequence[int],
                 rare: PatchSource) -> None:
        self._source, self._rare = source, rare
        self._params = params
        self._seed = seed
        self._pasted = tuple(pasted)

    def draw(self, epoch: int, index: int) -> Patch:
        """The patch of that place in that epoch; as its source gave it where chance changes nothing."""
        params, rng = self._params, generator(self._seed, "augment", epoch, index)
        patch = self._source.draw(epoch, index)
        mixes, pastes, warps = (chance < share for chance, share in zip(
            rng.random(3), (params.cutmix, params.copy_paste, params.warped * params.warps), strict=True))
        if not (mixes or pastes or warps):
            return patch
        pixels, donors = opened(patch), []
        if mixes:
            donors.append(self._source.draw(epoch, index + _CUTMIX_DONOR))
            cutmix(pixels, opened(donors[-1]), rng)
        if pastes:
            donors.append(self._rare.draw(epoch, index + _PASTE_DONOR))
            copy_paste(pixels, opened(donors[-1]), self._pasted)
        if warps:
            pixels = warped(pixels, coordinates(params, len(pixels.visible), rng))
        return closed(pixels, patch, donors)


def weight_shares(source: PatchSource, classes: int, patches: int = 512) -> AnyArray:
    """Share of each class in the weights of the labelled pixels a source draws, float64 K, by its first patches."""
    sums = np.zeros(256)
    for index in range(patches):
        pixels = opened(source.draw(0, index))
        sums += np.bincount(pixels.labels.ravel(), weights=pixels.weight.ravel(), minlength=256)
    return np.asarray(sums[:classes] / (sums[:classes].sum() or 1))


def augmented(source: PatchSource, params: AugmentParams, seed: int, classes: Sequence[str],
              rare: PatchSource | None = None) -> PatchSource:
    """The source with the mixing and warping of `params`; the source itself where there is none.

    Args:
        source: what to draw patches and CutMix donors from; changes of values are its own (see `value_changes`).
        params: the settings.
        seed: with epoch and index, all that chance depends on.
        classes: names of the classes by id, to find `copy_paste_classes`.
        rare: what to draw donors of copy-paste from, such as windows around the pasted classes; the source itself
            where None, whose draws may rarely show them.

    Raises:
        ModelError: a class to paste is none of the classes.
    """
    if unknown := [name for name in params.copy_paste_classes if name not in classes]:
        raise ModelError(f"train.patches.augmentation.copy_paste_classes must be classes of the split {list(classes)}: "
                         f"got {unknown}, which it merged or left out; name others")
    if not (params.mixes or params.warps):
        return source
    return Augmented(source, params, seed, [classes.index(name) for name in params.copy_paste_classes], rare or source)
