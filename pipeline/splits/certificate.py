"""Write a planned split, then certify what was written: pixels are counted from the files, read back."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from pipeline.errors import IntegrityError
from pipeline.geo.raster_io import create
from pipeline.geo.vector_io import write_geopackage
from pipeline.params.spatial_split import SplitParams
from pipeline.paths import write_json
from pipeline.scenes.store import Scene, SceneStore
from pipeline.splits.assign import part_of_fold
from pipeline.splits.blocks import bands_of
from pipeline.splits.buffer import held_out_distances, train_ground
from pipeline.splits.plan import Plan
from pipeline.splits.seams import count_seams
from pipeline.splits.split import Split
from pipeline.splits.support import PARTS, labelled_band
from pipeline.types import IGNORE_INDEX


def write_split(folder: Path, store: SceneStore, plan: Plan, params: SplitParams,
                seed: int) -> dict[str, Any]:
    """Write fold.tif and block.tif of every scene, blocks.gpkg and certificate.json; return the certificate.

    Raises:
        IntegrityError: held-out ground carries a train label, or ground belongs to two parts.
    """
    for laid in plan.blocks.scenes:
        _write_maps(folder / laid.scene_id, plan, laid.scene_id)
    frame = _block_frame(plan, params)
    write_geopackage(folder / "blocks.gpkg", {"blocks": frame})
    split = Split(folder, params.folds, params.val_fold, params.buffer_m, plan.classes, plan.lut,
                  plan.unsupported)
    certificate = certify(split, store, plan, params, seed, frame)
    write_json(folder / "certificate.json", certificate)
    return certificate


def _write_maps(folder: Path, plan: Plan, scene_id: str) -> None:
    folder.mkdir(parents=True)
    laid = plan.blocks[scene_id]
    fold_of_id = np.concatenate([np.array([IGNORE_INDEX], dtype=np.uint8), plan.fold_of_block])
    with (create(folder / "fold.tif", laid.grid, "uint8", ["fold"], nodata=IGNORE_INDEX) as folds,
          create(folder / "block.tif", laid.grid, "int32", ["block"], nodata=0) as blocks):
        for band in bands_of(laid.grid):
            ids = laid.ids_in(band)
            blocks.write(ids, band)
            folds.write(fold_of_id[ids], band)


def _block_frame(plan: Plan, params: SplitParams) -> Any:
    frame = plan.blocks.frame()
    part = part_of_fold(plan.fold_of_block, params.val_fold)
    frame["place"] = plan.place.astype(np.int32)
    frame["fold"] = plan.fold_of_block.astype(np.int32)
    frame["part"] = [PARTS[p] for p in part]
    for c, name in enumerate(plan.classes):
        frame[f"px_{name}"] = plan.pixels[:, c]
    return frame


def certify(split: Split, store: SceneStore, plan: Plan, params: SplitParams, seed: int,
            frame: gpd.GeoDataFrame) -> dict[str, Any]:
    """The certificate of a split whose maps are written; `frame` is the layer of blocks.gpkg.

    Raises:
        IntegrityError: held-out ground carries a train label, or ground belongs to two parts.
    """
    tally = _Tally(len(plan.classes))
    nearest: dict[str, list[float]] = {"held_out": [], "test": []}
    for scene in store:
        laid = plan.blocks[scene.id]
        ground = train_ground(split, scene.id, scene.grid)
        tally.add_scene(split, scene, ground)
        block_side_m = laid.height_px * scene.grid.ground_pixel_m[1]
        for name, distance in _nearest(split, scene, ground, params.buffer_m + block_side_m).items():
            nearest[name].append(distance)
    part = part_of_fold(plan.fold_of_block, params.val_fold)
    torn = sum(len(set(part[plan.place == p])) > 1 for p in np.unique(plan.place))
    if tally.leaks or torn:
        raise IntegrityError(f"a split must keep held-out ground out of training: {tally.leaks} held-out "
                             f"pixels carry a train label and {torn} places lie in several parts; report the "
                             "defect")
    objects = plan.support.objects_by_part(part, params.min_pixels)
    parts = {name: tally.describe(p, plan.classes) | {"objects": _by_class(plan.classes, objects[p]),
                                                      "blocks": int(np.count_nonzero(part == p))}
             for p, name in enumerate(PARTS)}
    lost = tally.train_labelled - tally.labelled[0].sum()
    return {
        "seed": seed, "attempts_used": plan.attempts, "folds": params.folds, "val_fold": params.val_fold,
        "test_fraction": params.test_fraction, "rare_classes": params.rare_classes,
        "min_pixels": params.min_pixels, "min_objects": params.min_objects,
        "block_size_m": params.block_size_m, "buffer_m": params.buffer_m,
        "block_px": {b.scene_id: [b.height_px, b.width_px] for b in plan.blocks.scenes},
        "classes": list(plan.classes), "class_map": list(plan.class_map), "merged": plan.merged,
        "unsupported": list(plan.unsupported), "parts": parts, "whole": _whole(tally, plan),
        "train_pixels_lost_to_buffer": int(lost),
        "train_share_lost_to_buffer": _share(int(lost), int(tally.train_labelled)),
        "held_out_pixels_with_train_label": tally.leaks,
        "least_distance_m": {f"train_to_{name}": _least(values) for name, values in nearest.items()},
        "places": int(plan.place.max()) + 1, "seams_without_buffer": count_seams(frame, params.buffer_m),
    }


class _Tally:
    """Pixels by part and class over the scenes."""

    def __init__(self, classes: int) -> None:
        self.pixels = np.zeros(len(PARTS), dtype=np.int64)
        self.labelled = np.zeros((len(PARTS), classes), dtype=np.int64)
        self.whole = np.zeros(classes, dtype=np.int64)
        self.valid = 0
        self.train_labelled = 0
        self.leaks = 0

    def add_scene(self, split: Split, scene: Scene, ground: npt.NDArray[np.bool_]) -> None:
        fold = split.fold_map(scene.id)
        for band in bands_of(scene.grid):
            label = labelled_band(scene, split.lut, band.slices)
            known, valid = label != IGNORE_INDEX, scene.valid[band.slices] > 0
            masks = [split.mask(fold[band.slices], part) for part in ("train", "val", "test")]
            trains = ground[band.slices] & known
            self.leaks += int(np.count_nonzero(trains & (masks[1] | masks[2])))
            self.train_labelled += int(np.count_nonzero(masks[0] & known))
            self.valid += int(np.count_nonzero(valid))
            self.whole += self._count(label[known])
            for p, mask in enumerate(masks):
                self.pixels[p] += np.count_nonzero(mask & valid)
                self.labelled[p] += self._count(label[trains if p == 0 else mask & known])

    def _count(self, label: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        return np.bincount(label, minlength=len(self.whole)).astype(np.int64)

    def describe(self, part: int, classes: tuple[str, ...]) -> dict[str, Any]:
        return {"pixels": int(self.pixels[part]), **_labelled(classes, self.labelled[part])}


def _whole(tally: _Tally, plan: Plan) -> dict[str, Any]:
    return {"pixels": tally.valid, "blocks": plan.blocks.count, **_labelled(plan.classes, tally.whole),
            "objects": _by_class(plan.classes, plan.support.objects)}


def _labelled(classes: tuple[str, ...], counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    total = int(counts.sum())
    return {"labelled": total, "labelled_by_class": _by_class(classes, counts),
            "prevalence": {n: _share(int(c), total) for n, c in zip(classes, counts, strict=True)}}


def _by_class(classes: tuple[str, ...], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return {n: int(c) for n, c in zip(classes, counts, strict=True)}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _nearest(split: Split, scene: Scene, ground: npt.NDArray[np.bool_], reach_m: float) -> dict[str, float]:
    """Least distance in metres from train ground to held-out and to test ground; inf beyond `reach_m`."""
    fold = split.fold_map(scene.id)
    test = split.mask(fold, "test")
    least = {}
    for name, mask in (("held_out", test | split.mask(fold, "val")), ("test", test)):
        bands = held_out_distances(mask, scene.grid, reach_m)
        least[name] = min(float(distance[ground[window.slices]].min(initial=np.inf))
                          for window, distance in bands)
    return least


def _least(values: list[float]) -> float | None:
    """Rounded to centimetres; None where no train ground lies within a block and the buffer."""
    least = min(values)
    return round(least, 2) if np.isfinite(least) else None
