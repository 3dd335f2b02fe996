"""Recipes and sources that several tests of patches use."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS

from pipeline.features.channels import ChannelRecipe
from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.params.task import TextureParams
from pipeline.patches.batch import collate
from pipeline.patches.ground import TrainGround, open_ground
from pipeline.patches.samplers import uniform_sampler
from pipeline.patches.source import Patch, WindowPatches
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split

BANDS = ("blue", "green", "red", "nir")
PLAIN = ChannelRecipe.named(BANDS, BANDS, None, 10000.0)
TEXTURE = ChannelRecipe.named(BANDS, ("nir", "NDVI", "glcm_entropy_red", "glcm_contrast_blue"),
                              TextureParams(window_px=5, levels=8, high=0.4), 10000.0)


def source_of(data: Any, seed: int = 3, size: int = 32, recipe: ChannelRecipe = PLAIN, **options: Any) -> WindowPatches:
    """Patches of a tiny store."""
    grounds = open_ground(data.store, data.split)
    return WindowPatches(grounds, recipe, uniform_sampler(grounds, size, seed, turns=8), seed, **options)


def uniform(grounds: list[TrainGround], size: int, seed: int = 0) -> WindowPatches:
    """Patches around labelled pixels, not turned."""
    return WindowPatches(grounds, PLAIN, uniform_sampler(grounds, size, seed, turns=1), seed)


def digest(*patches: Patch) -> str:
    """sha256 of what the network gets of these patches."""
    return digest_of(collate(patches))


def digest_of(*batches: Any) -> str:
    """sha256 of what the network gets of these batches."""
    tensors = [t for batch in batches for t in (batch.image().contiguous(), *batch.targets())]
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()


def places(steps: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Where the patches of each step were cut, sorted."""
    return [sorted(place for part in step for place in part.places) for step in steps]


def large_store(folder: Path, height: int, width: int) -> tuple[SceneStore, Split]:
    """A scene of noise whose first and third quarter of columns are train; one block of 64 px in the second is val."""
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 7e5, 0, -10, 9.31e6), height, width)
    rng = np.random.default_rng(0)
    ground = np.repeat(np.array([2, 0, 2, 0], np.uint8), width // 4)[None].repeat(height, 0)
    block = np.zeros((height, width), np.int32)
    block[:64, width // 4:width // 4 + 64] = 7
    for name, array, bands in (("image", rng.integers(1, 5000, (height, width, 4)).astype(np.uint16), BANDS),
                               ("labels", rng.integers(0, 3, (height, width)).astype(np.uint8), ["class"]),
                               ("weight", rng.random((height, width), dtype=np.float32), ["weight"]),
                               ("valid", np.ones((height, width), np.uint8), ["valid"])):
        raster_io.write(folder / f"scenes/one/{name}.tif", array, grid, bands)
    for name, array in (("ground", ground), ("block", block), ("fold", np.where(block, 0, 1).astype(np.uint8))):
        raster_io.write(folder / f"splits/one/{name}.tif", array, grid, [name])
    (folder / "scenes/manifest.json").write_text(json.dumps({
        "bands": BANDS, "classes": ["a", "b", "c"], "scenes": {"one": {"grid": grid.to_dict()}}}))
    (folder / "splits/certificate.json").write_text(json.dumps({
        "folds": 3, "val_fold": 0, "buffer_m": 0, "classes": ["a", "b", "c"], "class_map": [0, 1, 2],
        "unsupported": [], "shared_places": []}))
    return SceneStore.open(folder / "scenes"), Split.open(folder / "splits")
