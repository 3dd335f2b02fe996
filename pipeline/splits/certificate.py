"""Write a planned split, then certify what was written: everything is counted from the files, read back.

Shape legend: P parts (train, val, test), F folds (the test part last), K classes.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from pipeline.errors import IntegrityError
from pipeline.fanout import fan_out
from pipeline.geo.raster_io import create
from pipeline.geo.vector_io import read_vectors, write_geopackage
from pipeline.params.spatial_split import SplitParams
from pipeline.paths import write_json
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.assign import part_of_fold
from pipeline.splits.blocks import SceneBlocks, bands_of
from pipeline.splits.buffer import Grids, write_ground
from pipeline.splits.correlation import Correlation
from pipeline.splits.duplicates import find_duplicates
from pipeline.splits.plan import Plan
from pipeline.splits.separation import measure_separation
from pipeline.splits.split import Split
from pipeline.splits.support import PARTS
from pipeline.splits.tally import Counts, Survey, Tally, grids_of, survey
from pipeline.types import IGNORE_INDEX, TEST_FOLD, BoolArray, UInt8Array

#: By this share a measured distance may fall short of the declared one, since both are rounded.
_ROUNDING = 1e-6

#: A part whose share of the pixels is off by more than this much of what was asked is warned of.
_SHARE_OFF = 0.5


def write_split(folder: Path, store: SceneStore, plan: Plan, params: SplitParams, seed: int,
                correlation: Correlation | None = None) -> dict[str, Any]:
    """Write fold.tif, block.tif and ground.tif of every scene, blocks.gpkg and certificate.json; return the latter.

    Args:
        folder: where to write.
        store: the scene store that the plan was made for.
        plan: the split.
        params: the rules, with a number as block size.
        seed: the project's seed.
        correlation: what was measured of the residuals' correlation, if anything; it is certified as it is.

    Raises:
        IntegrityError: what was written breaks a rule (see `_certify`).
    """
    fold_of_id = np.concatenate([np.array([IGNORE_INDEX], dtype=np.uint8), plan.fold_of_block])
    for laid in plan.blocks.scenes:
        _write_maps(folder / laid.scene_id, laid, fold_of_id)
    split = Split(folder, params.folds, params.val_fold, params.buffer_m, plan.classes, plan.lut, plan.unsupported,
                  _shared_places(plan.place))
    counts = np.concatenate([[False], plan.support.pixels.any(axis=1)])
    jobs = [(split, scene, grids_of(store), params.block_m, counts, params.min_pixels) for scene in store]
    surveys = fan_out(_write_ground, jobs, "ground")
    write_geopackage(folder / "blocks.gpkg", {"blocks": _block_frame(plan, params)})
    certificate = _certify(split, surveys, store, plan, params, seed)
    certificate["correlation"] = None if correlation is None else correlation.to_dict()
    write_json(folder / "certificate.json", certificate)
    return certificate


def _write_maps(folder: Path, laid: SceneBlocks, fold_of_id: UInt8Array) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (create(folder / "fold.tif", laid.grid, "uint8", ["fold"], nodata=IGNORE_INDEX) as folds,
          create(folder / "block.tif", laid.grid, "int32", ["block"], nodata=0) as blocks):
        for band in bands_of(laid.grid):
            ids = laid.ids_in(band)
            blocks.write(ids, band)
            folds.write(fold_of_id[ids], band)


def _write_ground(job: tuple[Split, Scene, Grids, float, BoolArray, int]) -> Survey:
    """Write ground.tif of a scene and read all its maps back."""
    split, scene, grids, block_m, counts, min_pixels = job
    write_ground(split, scene.id, grids)
    return survey(split, scene, grids, block_m, counts, min_pixels)


def _shared_places(place: npt.NDArray[np.intp]) -> tuple[tuple[int, ...], ...]:
    """Ids of the blocks that are one place, for places of several blocks, in the order of their first block."""
    order = np.argsort(place, kind="stable")
    groups = np.split(order + 1, np.flatnonzero(np.diff(place[order])) + 1)
    return tuple(sorted(tuple(int(i) for i in group) for group in groups if len(group) > 1))


def _block_frame(plan: Plan, params: SplitParams) -> gpd.GeoDataFrame:
    frame = plan.blocks.frame()
    part = part_of_fold(plan.fold_of_block, params.val_fold)
    frame["place"] = plan.place.astype(np.int32)
    frame["fold"] = plan.fold_of_block.astype(np.int32)
    frame["part"] = [PARTS[p] for p in part]
    for c, name in enumerate(plan.classes):
        frame[f"px_{name}"] = plan.pixels[:, c]
    return frame


def _certify(split: Split, surveys: Sequence[Survey], store: SceneStore, plan: Plan, params: SplitParams,
             seed: int) -> dict[str, Any]:
    """The certificate of a split whose maps are written and surveyed.

    Raises:
        IntegrityError: held-out ground carries a train label or is visible to training, ground belongs to two parts,
            ground that trains lies within the buffer, a required class lacks its support, the files contradict each
            other, or the same picture lies in train and in a held-out part.
    """
    tally = reduce(add, (survey.tally for survey in surveys))
    least = {"train_to_held_out": min(survey.to_held_out_m for survey in surveys),
             "train_to_test": min(survey.to_test_m for survey in surveys)}
    fold, place = _read_blocks(split, surveys)
    part = part_of_fold(fold, params.val_fold)
    _refuse_leaks(split, tally, place, part, least["train_to_held_out"])
    _refuse_thin_support(split, tally, params)
    _warn_of_shares(tally, params)
    parts = {name: {"pixels": int(tally.pixels[p]), **_labelled(plan.classes, tally.labelled[p]),
                    "objects": _by_class(plan.classes, tally.objects[p]), "blocks": int(np.count_nonzero(part == p))}
             for p, name in enumerate(PARTS)}
    lost = tally.train_before_buffer - int(tally.labelled[0].sum())
    return {
        "seed": seed, "attempts_used": plan.attempts, "folds": params.folds, "val_fold": params.val_fold,
        "test_fraction": params.test_fraction, "rare_classes": params.rare_classes, "support_in": params.support_in,
        "min_pixels": params.min_pixels, "min_objects": params.min_objects,
        "block_size_m": params.block_m, "buffer_m": params.buffer_m,
        "block_px": {b.scene_id: [b.height_px, b.width_px] for b in plan.blocks.scenes},
        "classes": list(plan.classes), "class_map": list(plan.class_map), "merged": plan.merged,
        "unsupported": list(plan.unsupported), "parts": parts, "by_fold": _by_fold(tally, plan, params),
        "whole": {"pixels": tally.valid, "blocks": plan.blocks.count, **_labelled(plan.classes, tally.whole),
                  "objects": _by_class(plan.classes, plan.support.objects)},
        "train_pixels_lost_to_buffer": lost, "train_share_lost_to_buffer": _share(lost, tally.train_before_buffer),
        "held_out_pixels_with_train_label": tally.leaks, "held_out_pixels_seen": tally.seen,
        "least_distance_m": {k: round(m, 2) if np.isfinite(m) else None for k, m in least.items()},
        **near_duplicates(split, store, params, seed),
        "separation": measure_separation(split, store, seed).to_dict(),
        "places": int(np.unique(place).size), "shared_places": [list(ids) for ids in split.shared_places],
    }


def near_duplicates(split: Split, store: SceneStore, params: SplitParams, seed: int) -> dict[str, Any]:
    """What was found of the same picture in train and held-out ground, as the certificate says it.

    With `support_in: all_folds` each fold is held out in its turn, as members of a training do (`train.folds`).

    Raises:
        IntegrityError: the same picture lies in train and in a held-out part, and `near_duplicates` is `error`.
    """
    folds = range(params.folds) if params.support_in == "all_folds" else (split.val_fold,)
    found = {fold: find_duplicates(replace(split, val_fold=fold), store, params, seed) for fold in folds}
    for duplicates in found.values():
        duplicates.refuse_or_warn(params)
    others = {str(fold): duplicates.to_dict() for fold, duplicates in found.items() if fold != split.val_fold}
    return {"near_duplicates": found[split.val_fold].to_dict(),
            **({"near_duplicates_by_other_val_fold": others} if others else {})}


def _read_blocks(split: Split, surveys: Sequence[Survey]) -> tuple[UInt8Array, npt.NDArray[np.intp]]:
    """Fold and place of each block (index = id - 1) as the written files have them.

    Raises:
        IntegrityError: blocks.gpkg and the maps do not agree.
    """
    frame = read_vectors(split.folder / "blocks.gpkg", "blocks")
    fold = reduce(np.maximum, (survey.fold_of_block for survey in surveys))[1:]
    ids, listed = frame["block"].to_numpy(), frame["fold"].to_numpy()
    if not np.array_equal(ids, np.arange(1, len(fold) + 1)) or not np.array_equal(listed, fold):
        raise IntegrityError("blocks.gpkg must list the blocks of block.tif with their folds in fold.tif: "
                             f"{len(frame)} are listed, {np.count_nonzero(fold >= 0)} shown; report the defect")
    _, place = np.unique(frame["place"].to_numpy(), return_inverse=True)
    return fold.astype(np.uint8), place.astype(np.intp)


def _refuse_leaks(split: Split, tally: Tally, place: npt.NDArray[np.intp], part: npt.NDArray[Any],
                  least_m: float) -> None:
    parts_of_place = np.zeros((int(place.max()) + 1, len(PARTS)), dtype=bool)
    parts_of_place[place, part] = True
    torn = int(np.count_nonzero(parts_of_place.sum(axis=1) > 1))
    if tally.leaks or tally.seen or torn:
        raise IntegrityError(f"a split must keep held-out ground out of training: {tally.leaks} held-out pixels carry "
                             f"a train label, {tally.seen} are visible to training and {torn} places lie in several "
                             "parts; report the defect")
    if least_m <= split.buffer_m * (1 - _ROUNDING):
        raise IntegrityError(f"ground that trains must be farther than spatial_split.buffer_m={split.buffer_m:g} from "
                             f"held-out ground: got {least_m:g} m; report the defect")


def _refuse_thin_support(split: Split, tally: Tally, params: SplitParams) -> None:
    """Recount what was promised of every class that is not flagged as unsupported."""
    for c, name in enumerate(split.classes):
        if name in split.unsupported:
            continue
        for p, part in enumerate(PARTS):
            pixels, objects = int(tally.labelled[p, c]), int(tally.objects[p, c])
            if pixels < params.min_pixels or objects < params.min_objects:
                raise IntegrityError(f"class {name} must have at least {params.min_pixels} labelled pixels and "
                                     f"{params.min_objects} object(s) in {part}: the written files hold {pixels} and "
                                     f"{objects}; report the defect")


def _warn_of_shares(tally: Tally, params: SplitParams) -> None:
    """Say where a part's share of the pixels is far from what was asked: blocks are dealt by number, not by size."""
    asked = {"test": params.test_fraction, "val": (1 - params.test_fraction) / params.folds}
    whole = int(tally.pixels.sum())
    for part, share in asked.items():
        got = int(tally.pixels[PARTS.index(part)]) / whole
        if abs(got - share) > _SHARE_OFF * share:
            warnings.warn(f"the {part} part should hold about {share:.0%} of the valid pixels: it holds {got:.0%}, as "
                          "places are dealt by number and differ in size (overlapping scenes in several CRSs, edges, "
                          "nodata) or are few; lower spatial_split.block_size_m, or warp the scenes to one CRS",
                          stacklevel=2)


def _by_fold(tally: Tally, plan: Plan, params: SplitParams) -> dict[str, Any]:
    """What each fold would be as the validation part, and the test part: support and prevalence."""
    group = np.where(plan.fold_of_block == TEST_FOLD, params.folds, plan.fold_of_block)
    objects = plan.support.objects_by_group(group, params.min_pixels, params.folds + 1)
    result = {}
    for f, name in enumerate([*map(str, range(params.folds)), "test"]):
        enough = (tally.by_fold[f] >= params.min_pixels) & (objects[f] >= params.min_objects)
        result[name] = {"blocks": int(np.count_nonzero(group == f)), **_labelled(plan.classes, tally.by_fold[f]),
                        "objects": _by_class(plan.classes, objects[f]),
                        "too_little_of": [c for c, e in zip(plan.classes, enough, strict=True) if not e]}
    return result


def _labelled(classes: tuple[str, ...], counts: Counts) -> dict[str, Any]:
    total = int(counts.sum())
    return {"labelled": total, "labelled_by_class": _by_class(classes, counts),
            "prevalence": {n: _share(int(c), total) for n, c in zip(classes, counts, strict=True)}}


def _by_class(classes: tuple[str, ...], counts: Counts) -> dict[str, int]:
    return {n: int(c) for n, c in zip(classes, counts, strict=True)}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
