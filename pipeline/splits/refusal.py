"""What to tell when no split satisfies the rules: the classes to blame, why, and only remedies that can help."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from pipeline.errors import SplitError
from pipeline.params.spatial_split import SplitParams
from pipeline.scenes.store import SceneStore
from pipeline.splits.assign import Rates, find_assignment, support_rates, test_count
from pipeline.splits.blocks import Blocks
from pipeline.splits.feasible import largest_feasible_m, least_size_m
from pipeline.splits.support import PARTS, Support
from pipeline.types import BoolArray, UInt8Array


@dataclass(frozen=True)
class Refused:
    """A plan that failed: what it was made of, how often each class was supported, and which classes are to blame."""

    store: SceneStore
    params: SplitParams
    seed: int
    classes: tuple[str, ...]
    lut: UInt8Array
    support: Support
    place: npt.NDArray[np.intp]
    rates: Rates
    blamed: BoolArray


class _Cause(Enum):
    ABSENT = "no label at all"
    FEW_PIXELS = "fewer pixels than the parts need together"
    BUFFER = "supported, were it not for the buffer"
    FEW_OBJECTS = "fewer objects than the parts need together"
    BLOCKS = "laid out so that the blocks do not divide it"


def refuse_places(store: SceneStore, blocks: Blocks, place: npt.NDArray[np.intp], params: SplitParams) -> None:
    """Refuse a store without valid pixels, and too few places.

    Raises:
        SplitError: see above.
    """
    if not blocks.count:
        raise SplitError(f"a scene store must hold valid pixels: got none in {len(store.scenes)} scene"
                         f"{'s' * (len(store.scenes) != 1)}; check the scenes' nodata values, cloud masks and area "
                         "of interest, then run `dvc repro rasterize`")
    try:
        test_count(int(place.max()) + 1, params)
    except SplitError:
        tied = blocks.foreign_ties()
        if tied.size:
            scene = np.unique(blocks.scene_of_block[tied])
            names = ", ".join(f"{store.scenes[i].id} ({store.scenes[i].grid.crs_name})" for i in scene)
            raise SplitError(
                f"scenes that overlap must have one CRS and parallel axes, else their blocks tie each other together: "
                f"{names} leave {int(place.max()) + 1} of {blocks.count} blocks of {params.block_m:g} m apart, and the "
                f"test part and each of {params.folds} folds need one; warp them to one CRS before acquire "
                "(gdalwarp -t_srs)") from None
        raise


def refusal(refused: Refused) -> str:
    """One sentence: the classes and what they have, the rule, and what would help."""
    params, support = refused.params, refused.support
    causes = {int(c): _cause(refused, int(c)) for c in np.flatnonzero(refused.blamed)}
    stories = [f"{refused.classes[c]} ({_story(refused, c)})" for c in causes]
    noun = "classes" if len(stories) > 1 else "class"
    rule = (f"{noun} {', '.join(stories)} must have at least {params.min_pixels} labelled pixels and "
            f"{_objects(params.min_objects)} in each of train, val and test")
    whole = support.pixels.sum(axis=0)
    if (whole[list(causes)] > 0).any():
        rule += (f": none of {params.attempts} random assignments of {params.block_m:g} m blocks supports all classes"
                 f"{' with any fold as val' * (params.support_in == 'all_folds')}")
    return f"{rule}; {_remedy(refused, causes)}"


def _cause(refused: Refused, c: int) -> _Cause:
    params, support = refused.params, refused.support
    pixels = int(support.pixels[:, c].sum())
    if not pixels:
        return _Cause.ABSENT
    if pixels < len(PARTS) * params.min_pixels:
        return _Cause.FEW_PIXELS
    if params.buffer_m > 0 and _supported_without_buffer(refused, c):
        return _Cause.BUFFER
    blocks = int(np.count_nonzero(support.pixels[:, c]))
    few = support.objects[c] < len(PARTS) * params.min_objects and refused.rates.both[c] == 0
    if few and (blocks < len(PARTS) or refused.rates.pixels[c] > 0):
        return _Cause.FEW_OBJECTS
    return _Cause.BLOCKS


def _supported_without_buffer(refused: Refused, c: int) -> bool:
    bare, params = refused.support.without_buffer(), refused.params
    if refused.rates.both[c] > 0:  # each class is supported in some draw, but not all in one
        every = np.ones(len(refused.classes), dtype=bool)
        return find_assignment(bare, refused.place, params, refused.seed, every) is not None
    return bool(support_rates(bare, refused.place, params, refused.seed).both[c] > 0)


def _story(refused: Refused, c: int) -> str:
    support, rates = refused.support, refused.rates
    pixels, blocks = int(support.pixels[:, c].sum()), int(np.count_nonzero(support.pixels[:, c]))
    if not pixels:
        return "no labelled pixel at all"
    lost = ""
    if rates.after[c] < rates.before[c]:
        buffer_m = refused.params.buffer_m
        where = f"the buffer of {buffer_m:g} m" if buffer_m else "what scenes on other grids may hold out"
        lost = f", of which train keeps at most {rates.after[c]:,} of {rates.before[c]:,} px outside {where}"
    return f"{pixels:,} px in {_objects(int(support.objects[c]))} in {blocks} block{'s' * (blocks != 1)}{lost}"


def _remedy(refused: Refused, causes: dict[int, _Cause]) -> str:
    params, support = refused.params, refused.support
    declare = "declare rare_classes: merge (with merge_into) or report_only"

    def least(cause: _Cause, counts: npt.NDArray[np.int64]) -> int:
        return int(min(counts[c] for c in causes if causes[c] is cause))

    if _Cause.ABSENT in causes.values():
        it = "it" if len(causes) == 1 else "what has no labels"
        return f"label {it}, take {it} out of task.classes, or {declare}"
    if _Cause.FEW_PIXELS in causes.values():
        most = least(_Cause.FEW_PIXELS, support.pixels.sum(axis=0)) // len(PARTS)
        lower = f"lower spatial_split.min_pixels (to {most} at most), " if most else ""
        return f"no block size would do: {lower}label more of it, or {declare}"
    if _Cause.FEW_OBJECTS in causes.values():
        objects = least(_Cause.FEW_OBJECTS, support.objects)
        lower = (f"lower spatial_split.min_objects (to {max(1, objects // len(PARTS))} at most), "
                 if params.min_objects > 1 else "")
        return (f"{_objects(objects)} cannot serve {len(PARTS)} parts with {params.min_objects} each, and smaller "
                f"blocks would only cut objects up between train and held-out ground: {lower}label more of it, or "
                f"{declare}")
    size = largest_feasible_m(refused.store, params, refused.seed, refused.lut, len(refused.classes))
    found = (f"no block size down to {least_size_m(refused.store, params):.4g} m would do: " if size is None else
             f"the largest feasible block is {size:g} m: set spatial_split.block_size_m to it, ")
    buffer = "lower spatial_split.buffer_m, " if _Cause.BUFFER in causes.values() else ""
    if not params.buffer_m and (refused.rates.after < refused.rates.before)[list(causes)].any():
        buffer = "bring the scenes to one grid, "
    objects_too = any(refused.rates.pixels[c] > refused.rates.both[c] for c in causes)
    lower = "lower spatial_split.min_objects" if objects_too else "lower spatial_split.min_pixels"
    return f"{found}{buffer}{lower}, or {declare}"


def _objects(count: int) -> str:
    return f"{count:,} object{'s' * (count != 1)}"
