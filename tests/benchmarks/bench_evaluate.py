"""Seconds to predict a scene out of fold: one walk over the tiles, and every member over every scene by itself.

    python -m tests.benchmarks.bench_evaluate [--scenes 5] [--folds 5] [--seeds 1] [--size-px 512] [--repeats 3] [--tta]

Scenes have five bands; channels are these and two textures (GLCM, the dear part of reading). Each scene is one fold,
as images of 512 px are; `--shared` lays the folds out as blocks of 128 px in every scene instead. Networks are
untrained Unets with a resnet18 encoder, tiles 256 px with an overlap of 64. Both ways run in turn in one process.

- walk: pipeline.inference.ensemble, as evaluate does: a tile is read once, and passed through the members that held
  out ground in it, once.
- alone: `predict` for each member over each scene that has ground of any fold, as if members were scored one by one.
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from affine import Affine

from pipeline.features.channels import ChannelRecipe
from pipeline.geo.grid import Grid
from pipeline.inference.ensemble import Mean, held_out, walk
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.sources import ChannelPixels
from pipeline.inference.tiles import predict
from pipeline.networks.segmenter import build
from pipeline.networks.spec import ModelSpec
from pipeline.params.evaluate import TileParams
from pipeline.params.network import NetworkParams
from pipeline.params.task import TextureParams
from pipeline.types import BoolArray, FloatArray, UInt8Array, Window

BANDS = ("blue", "green", "red", "swir", "thermal")
CHANNELS = (*BANDS, "glcm_contrast_red", "glcm_homogeneity_swir")
CLASSES = ("background", "glacier", "debris", "lake")
RECIPE = ChannelRecipe.named(BANDS, CHANNELS, TextureParams(), 10000.0)
TILES = TileParams(size_px=256, overlap_px=64)


@dataclass(frozen=True)
class Noise:
    """A scene in memory."""

    image: FloatArray
    fold_HW: UInt8Array
    bands: tuple[str, ...] = BANDS

    @property
    def grid(self) -> Grid:
        return Grid("", Affine.identity(), *self.fold_HW.shape)

    def read(self, window: Window) -> FloatArray:
        return self.image[(slice(None), *window.slices)]

    def valid(self, window: Window) -> BoolArray:
        return np.ones((window.height, window.width), dtype=np.bool_)

    def folds_of(self, window: Window) -> UInt8Array:
        return self.fold_HW[window.slices]


def scene(number: int, size: int, folds: int, shared: bool) -> Noise:
    rng = np.random.default_rng(number)
    block = np.arange(size) // 128
    fold_HW = (block[:, None] + block[None]) % folds if shared else np.full((size, size), number % folds)
    return Noise(rng.integers(500, 4000, (len(BANDS), size, size)).astype(np.float32), fold_HW.astype(np.uint8))


def network(members: int) -> NetworkPredictor:
    spec = ModelSpec(
        network=NetworkParams(), bands=BANDS, channels=CHANNELS, texture=TextureParams(), classes=CLASSES,
        colors=("#b8b0a4",) * 4, background="background", reflectance_scale=10000, mean=(2000,) * 7, std=(900,) * 7,
        low=(0,) * 7, high=(9000,) * 7, band_low=(0,) * 5, band_high=(9000,) * 5, patch_size_px=128, size_multiple=16,
        pixel_size_m=10, split="")
    return NetworkPredictor([build(spec) for _ in range(members)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("scenes", 5), ("folds", 5), ("seeds", 1), ("size-px", 512), ("repeats", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--tta", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folds = [fold for _ in range(args.seeds) for fold in range(args.folds)]
    members, by_fold = network(len(folds)), held_out(folds)
    maps = {"network": Mean(by_fold=by_fold)}
    if args.tta:
        maps["network_tta"] = Mean(by_fold=by_fold, tta=True)
    if args.seeds > 1:
        for seed in range(args.seeds):
            maps[f"seed {seed}"] = Mean(by_fold={f: (seed * args.folds + f,) for f in range(args.folds)})
    scenes = [scene(i, args.size_px, args.folds, args.shared) for i in range(args.scenes)]
    singles = [NetworkPredictor([segmenter]) for segmenter in members._segmenters]
    for _ in predict(singles[0], ChannelPixels(scenes[0], RECIPE), TILES):  # compiles the textures
        pass
    seconds: dict[str, list[float]] = {"walk": [], "alone": []}
    for _ in range(args.repeats):
        start = time.perf_counter()
        for noise in scenes:
            for _ in walk(members, maps, ChannelPixels(noise, RECIPE), TILES, noise.folds_of):
                pass
        seconds["walk"].append(time.perf_counter() - start)
        start = time.perf_counter()
        for noise in scenes:
            for single in singles:
                for _ in predict(single, ChannelPixels(noise, RECIPE), TILES):
                    pass
        seconds["alone"].append(time.perf_counter() - start)
    print(f"{args.scenes} scenes of {args.size_px} px, {len(folds)} members, {args.repeats} repeats")
    print(f"{'way':<8}{'s a scene, median':>20}{'least':>10}{'largest':>10}")
    for way, values in seconds.items():
        each = [value / args.scenes for value in values]
        print(f"{way:<8}{statistics.median(each):>20.2f}{min(each):>10.2f}{max(each):>10.2f}")
    ratio = [walked / alone for walked, alone in zip(seconds["walk"], seconds["alone"], strict=True)]
    print(f"walk / alone: {statistics.median(ratio):.3f}")


if __name__ == "__main__":
    main()
