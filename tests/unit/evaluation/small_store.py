"""A small scene store and split on disk, made without the stages that would make them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.types import TEST_FOLD

BANDS = ("blue", "green", "red", "nir")
CLASSES = ("background", "settlement", "water", "vegetation")
SIZE, BLOCK, FOLDS = 96, 16, 3


def grid(size: int = SIZE) -> Grid:
    return Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9300000), size, size)


#: Baselines that cost nothing.
CHEAP = {"boosting": False, "boosting_focal": False}


def params(**evaluate: object) -> Params:
    """Settings of a quick evaluation; keywords replace keys of the section evaluate."""
    colors = ("#b8b0a4", "#d1495b", "#2e86ab", "#5b8e3e")
    section = {"tiles": {"size_px": 32, "overlap_px": 8}, "bootstrap": {"resamples": 100},
               "baselines": {"index_rules": [{"target": "water", "index": "NDWI", "above": 0.05}],
                             "boosting_pixels": 600, "focal_px": [3]},
               "object_classes": ["settlement"], **evaluate}
    return Params({"seed": 7, "evaluate": section,
                   "task": {"bands": list(BANDS), "background": "background",
                            "classes": [{"name": n, "color": c} for n, c in zip(CLASSES, colors, strict=True)]}})


def fold_and_block(size: int = SIZE, first_block: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Folds 0, 1, 2 and test in diagonals of square blocks; block ids count row by row."""
    per_side = size // BLOCK
    row, col = np.divmod(np.arange(per_side**2), per_side)
    folds = np.array([0, 1, 2, TEST_FOLD], dtype=np.uint8)[(row + col) % 4].reshape(per_side, per_side)
    blocks = (np.arange(per_side**2, dtype=np.int32) + first_block).reshape(per_side, per_side)
    square = np.ones((BLOCK, BLOCK))
    return np.kron(folds, square).astype(np.uint8), np.kron(blocks, square).astype(np.int32)


def draw_truth(seed: int, size: int = SIZE) -> np.ndarray:
    """Class ids in patches of 4 px, so that every block has every class and objects."""
    small = np.random.default_rng(seed).choice(4, p=[0.4, 0.2, 0.2, 0.2], size=(size // 4, size // 4))
    return np.kron(small, np.ones((4, 4))).astype(np.uint8)


def write_scene(paths: Paths, scene_id: str, truth: np.ndarray, image: np.ndarray, valid: np.ndarray,
                labels: np.ndarray | None = None, reference: bool = True, first_block: int = 1) -> None:
    """All rasters of one scene and of its split; the zones are the left and the right half."""
    g, folder = grid(truth.shape[0]), paths.scenes / scene_id
    fold, block = fold_and_block(truth.shape[0], first_block)
    zones = np.where(np.arange(truth.shape[1]) < truth.shape[1] // 2, 1, 2).astype(np.uint8)
    shown = truth if labels is None else labels
    write(folder / "image.tif", image.astype(np.uint16), g, BANDS)
    for name, array in {"labels": shown, "labels_raw": shown, "valid": valid.astype(np.uint8),
                        "weight": np.ones(truth.shape, np.float32), "strata": np.tile(zones, (truth.shape[0], 1)),
                        **({"reference": truth} if reference else {})}.items():
        write(folder / f"{name}.tif", array, g, [name])
    write(paths.splits / scene_id / "fold.tif", fold, g, ["fold"])
    write(paths.splits / scene_id / "block.tif", block, g, ["block"])
    trains = np.where((fold == 1) | (fold == 2), 2, 0).astype(np.uint8)
    write(paths.splits / scene_id / "ground.tif", trains, g, ["ground"])


def write_store(root: Path, scenes: tuple[str, ...] = ("one",), reference: bool = True, merge: bool = False,
                test_garbage: int | None = None) -> Paths:
    """A store in which red is 1000 x class + noise, and nir/green make water stand out; the corner has no data.

    `merge` makes the split merge vegetation into water; `test_garbage` replaces all truth on test ground by noise.
    """
    paths = Paths(root)
    rng = np.random.default_rng(0)
    for i, scene_id in enumerate(scenes):
        truth = draw_truth(i)
        image = rng.integers(2000, 2400, size=(*truth.shape, len(BANDS)))
        image[..., 2] = 1000 + 1000 * truth.astype(int) + rng.integers(-200, 200, size=truth.shape)
        image[..., 3] = np.where(truth == 2, 300, 3000)
        valid = np.ones(truth.shape, dtype=bool)
        valid[:5, :7] = False
        if test_garbage is not None:
            test = fold_and_block()[0] == TEST_FOLD
            truth[test] = np.random.default_rng(test_garbage).integers(0, 4, int(test.sum()))
        write_scene(paths, scene_id, truth, image, valid, reference=reference, first_block=1 + 1000 * i)
    names, lut = (CLASSES[:3], [0, 1, 2, 2]) if merge else (CLASSES, [0, 1, 2, 3])
    manifest = {"bands": BANDS, "classes": CLASSES, "coverage": "exhaustive", "strata": {"1": "left", "2": "right"},
                "scenes": {s: {"grid": grid().to_dict(), "dtype": "uint16", "crs_name": "EPSG:32748"} for s in scenes}}
    certificate = {"folds": FOLDS, "val_fold": 0, "buffer_m": 0.0, "classes": names, "class_map": lut,
                   "unsupported": [], "shared_places": []}
    (paths.scenes / "manifest.json").write_text(json.dumps(manifest))
    (paths.splits / "certificate.json").write_text(json.dumps(certificate))
    return paths


class RedPredictor:
    """Reads the class off the red band, which write_store makes possible; every `wrong`-th column is called 0."""

    def __init__(self, classes: tuple[str, ...] = CLASSES, wrong: int = 0) -> None:
        self.bands, self.classes, self._wrong = BANDS, classes, wrong

    def probabilities(self, image_NCHW: np.ndarray) -> np.ndarray:
        red = np.nan_to_num(image_NCHW[:, 2], nan=1000.0)
        ids = np.clip(np.rint(red / 1000 - 1), 0, len(self.classes) - 1).astype(int)
        if self._wrong:
            ids[..., ::self._wrong] = 0
        return np.moveaxis(np.eye(len(self.classes), dtype=np.float32)[ids], -1, 1)


def write_checkpoint(paths: Paths, members: int = 1, pairs: Sequence[tuple[int, int]] = (),
                     val_chose: tuple[str, ...] | None = None) -> None:
    """Untrained small networks as the checkpoint's members; `pairs` are seed and fold of each, none = not said."""
    import torch

    from pipeline.digests import folder_sha256
    from pipeline.networks.members import save_member
    from pipeline.networks.segmenter import build
    from pipeline.networks.spec import ModelSpec

    network = {"architecture": "Unet", "encoder": "resnet18", "encoder_depth": 3, "decoder_channels": [16, 8, 8]}
    spec = ModelSpec.model_validate({
        "network": network, "bands": BANDS, "classes": CLASSES, "colors": ["#000000"] * 4, "background": "background",
        "reflectance_scale": 10000, "mean": [2000] * 4, "std": [500] * 4, "low": [0] * 4, "high": [10000] * 4,
        "patch_size_px": 32, "size_multiple": 8, "pixel_size_m": 10,
        "split": folder_sha256(paths.splits)})
    history = "epoch,lr,train_loss,val_mcc\n1,0.1,2,0.5\n"
    for member, (seed, fold) in enumerate(pairs or [(-1, -1)] * members):
        torch.manual_seed(member)
        own = spec.model_copy(update={"seed": seed, "val_fold": fold, "val_chose": val_chose})
        save_member(paths.checkpoint / "members" / str(member), build(own), history)
