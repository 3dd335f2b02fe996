"""A scene store and a split made by hand: 96 x 128 pixels, three classes that pixels give away, blocks of 32 pixels."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from scipy.ndimage import distance_transform_edt

from pipeline.geo import raster_io
from pipeline.geo.grid import Grid
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import TEST_FOLD

SHAPE, BLOCK = (96, 128), 32
BANDS, CLASSES = ("blue", "green", "red", "nir"), ("background", "settlement", "water")


@dataclass(frozen=True)
class TinyData:
    """Folders of the store and the split, and how to open them."""

    scenes: Path
    splits: Path

    @property
    def store(self) -> SceneStore:
        return SceneStore.open(self.scenes)

    @property
    def split(self) -> Split:
        return Split.open(self.splits)


@pytest.fixture
def tiny_data(tmp_path: Path) -> Callable[..., TinyData]:
    """Make the tiny store; `held_out_garbage` replaces every val and test pixel (image, labels, weight) by noise."""

    def make(name: str = "tiny", held_out_garbage: int | None = None, buffer_m: float = 0.0) -> TinyData:
        root = tmp_path / name
        rng = np.random.default_rng(7)
        grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), *SHAPE)
        labels = rng.integers(0, 3, (SHAPE[0] // 8, SHAPE[1] // 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        image = (1000 + 400.0 * labels[..., None] * np.array([1, 2, 3, -1]) + rng.normal(0, 60, (*SHAPE, 4))).clip(1)
        labels[:4, :4] = 255
        valid = np.ones(SHAPE, dtype=np.uint8)
        valid[-6:, -6:] = 0
        weight = np.where(labels == 1, 0.5, 1.0).astype(np.float32)
        block = (np.arange(SHAPE[0])[:, None] // BLOCK * 4 + np.arange(SHAPE[1])[None] // BLOCK + 1).astype(np.int32)
        fold = np.array([255, 0, 1, 2, TEST_FOLD, 1, 2, 0, 1, 2, TEST_FOLD, 1, 2], dtype=np.uint8)[block]
        if held_out_garbage is not None:
            noise = np.random.default_rng(held_out_garbage)
            held = (fold == 0) | (fold == TEST_FOLD)
            image[held] = noise.integers(1, 10000, (int(held.sum()), 4))
            labels[held] = noise.integers(0, 3, int(held.sum()))
            weight[held] = noise.random(int(held.sum()))
            valid[held] = noise.integers(0, 2, int(held.sum()))
        store, splits = root / "scenes", root / "splits"
        for file, array, bands in (("image", image.astype(np.uint16), BANDS), ("labels", labels, ["class"]),
                                   ("labels_raw", labels, ["class"]), ("weight", weight, ["weight"]),
                                   ("valid", valid, ["valid"])):
            raster_io.write(store / "one" / f"{file}.tif", array, grid, bands)
        raster_io.write(splits / "one/fold.tif", fold, grid, ["fold"])
        raster_io.write(splits / "one/block.tif", block, grid, ["block"])
        held = (fold == 0) | (fold == TEST_FOLD)
        reach = distance_transform_edt(~held, sampling=grid.ground_pixel_m[::-1])
        ground = np.where(held, 0, np.where(reach > buffer_m, 2, 1)).astype(np.uint8)
        raster_io.write(splits / "one/ground.tif", ground, grid, ["ground"])
        (store / "manifest.json").write_text(json.dumps({
            "bands": BANDS, "classes": CLASSES, "scenes": {"one": {"grid": grid.to_dict(), "dtype": "uint16"}}}))
        (splits / "certificate.json").write_text(json.dumps({
            "folds": 3, "val_fold": 0, "buffer_m": buffer_m, "classes": CLASSES, "class_map": [0, 1, 2],
            "unsupported": [], "shared_places": []}))
        return TinyData(store, splits)

    return make
