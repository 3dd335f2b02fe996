"""A scene store and a split of noise for measuring patches: made row band by row band, of any size.

Blocks of 64 pixels are train (most), val or test at random, with labels held back in a ring of five pixels around every
held-out block; 2 % of the pixels have no data.
"""

import json
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS

from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import create
from pipeline.geo.windows import row_bands
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split

BANDS, CLASSES = ("blue", "green", "red", "nir"), ("background", "settlement", "water")
_BLOCK, _RING = 64, 5


def make_store(folder: Path, size: int, seed: int = 0) -> tuple[SceneStore, Split]:
    """One square scene `size` pixels wide under `folder`."""
    grid = Grid(CRS.from_epsg(32748).to_wkt(), Affine(10, 0, 700000, 0, -10, 9310000), size, size)
    rng = np.random.default_rng(seed)
    blocks = rng.choice(np.array([0, 2], np.uint8), size=(-(-size // _BLOCK),) * 2, p=[0.4, 0.6])
    layers = {"image": ("uint16", BANDS), "labels": ("uint8", ["class"]), "weight": ("float32", ["weight"]),
              "valid": ("uint8", ["valid"]), "ground": ("uint8", ["ground"])}
    for name, (dtype, bands) in layers.items():
        part = "splits" if name == "ground" else "scenes"
        with create(folder / part / "one" / f"{name}.tif", grid, dtype, bands) as writer:
            for band in row_bands(size, size, _BLOCK):
                shape = (band.height, band.width)
                match name:
                    case "image":
                        values = rng.integers(1, 9000, (*shape, len(bands)), dtype=np.uint16)
                    case "labels":
                        values = rng.choice(np.array([0, 1, 2, 255], np.uint8), shape, p=[0.5, 0.2, 0.2, 0.1])
                    case "weight":
                        values = rng.random(shape, dtype=np.float32)
                    case "valid":
                        values = (rng.random(shape) > 0.02).astype(np.uint8)
                    case _:
                        values = _ground_rows(blocks, band.row // _BLOCK)[:band.height, :size]
                writer.write(values, band)
    (folder / "scenes/manifest.json").write_text(json.dumps({
        "bands": BANDS, "classes": CLASSES, "scenes": {"one": {"grid": grid.to_dict(), "dtype": "uint16"}}}))
    (folder / "splits/certificate.json").write_text(json.dumps({
        "folds": 3, "val_fold": 0, "buffer_m": 50.0, "classes": CLASSES, "class_map": [0, 1, 2], "unsupported": [],
        "shared_places": []}))
    return SceneStore.open(folder / "scenes"), Split.open(folder / "splits")


def _ground_rows(blocks: np.ndarray, row: int) -> np.ndarray:
    """Ground codes of one row of blocks: 1 along the sides that touch a held-out block."""
    padded = np.pad(blocks, 1, mode="edge")
    near = padded[row:row + 3].repeat(_BLOCK, axis=1)
    codes = near[1][None].repeat(_BLOCK, axis=0)
    held = [np.pad(n, _RING, mode="edge") == 0 for n in near]
    beside = [np.lib.stride_tricks.sliding_window_view(h, 2 * _RING + 1).any(axis=1) for h in held]
    back = np.broadcast_to(beside[1], codes.shape).copy()
    back[:_RING] |= beside[0]
    back[-_RING:] |= beside[2]
    return np.where((codes == 2) & back, 1, codes).astype(np.uint8)[:, _BLOCK:-_BLOCK]
