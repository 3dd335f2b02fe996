"""Patches per second with and without augmentation, one process, one thread.

    python -m tests.benchmarks.bench_augment [--size-px 128] [--scene-px 2048] [--repeats 5] [--out FILE.json]

Every way draws patches around labelled pixels of the same scene of four uint16 bands and stacks them to batches of 8,
as they travel to the device (`WindowPatches.draw`, what is added to it, `collate`); `to float` adds what the device
does with them (`Batch.image` and `targets`), for the plain patches and the usual set. `usual` is affine, brightness and
noise. All ways run interleaved after one round that warms caches; a rate is the median over the repeats, `cost` the
median of the milliseconds that a patch takes beyond a plain one, within each repeat.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from pipeline.features.channels import ChannelRecipe
from pipeline.params.augment import AugmentParams
from pipeline.patches.augment.source import augmented
from pipeline.patches.augment.values import value_changes
from pipeline.patches.batch import Recycled, collate
from pipeline.patches.ground import open_ground
from pipeline.patches.samplers import uniform_sampler
from pipeline.patches.source import PatchSource, WindowPatches
from pipeline.patches.statistics import raw_statistics
from tests.benchmarks.patch_store import BANDS, CLASSES, make_store

_BATCH, _BATCHES = 8, 32
_USUAL = {"shift": 0.1, "scale": 0.25, "rotate_deg": 30, "brightness": 0.3, "noise": 0.1}
_WAYS = {
    "plain": {},
    "affine": {"shift": 0.1, "scale": 0.25, "rotate_deg": 30},
    "elastic": {"elastic_px": 2},
    "grid distortion": {"grid_distortion": 0.3},
    "brightness, contrast": {"brightness": 0.3, "contrast": 0.2},
    "gamma": {"gamma": 0.3},
    "noise": {"noise": 0.1},
    "band dropout": {"band_dropout": 0.1},
    "cutmix": {"cutmix": 1.0},
    "copy-paste": {"copy_paste": 1.0, "copy_paste_classes": ("water",)},
    "usual": _USUAL,
    "usual, half warped": {**_USUAL, "warped": 0.5},
}
_FLOAT = ("plain", "usual")


def seconds(source: PatchSource, epoch: int, to_float: bool, recycled: Recycled) -> float:
    """Time of _BATCHES batches."""
    start = time.perf_counter()
    for first in range(0, _BATCH * _BATCHES, _BATCH):
        batch = collate([source.draw(epoch, i) for i in range(first, first + _BATCH)], recycled)
        if to_float:
            batch.image(), batch.targets()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=128, help="side of a patch")
    parser.add_argument("--scene-px", type=int, default=2048, help="side of the scene")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = ChannelRecipe.named(BANDS, BANDS, None, 10000.0)
    with tempfile.TemporaryDirectory() as temporary:
        grounds = open_ground(*make_store(Path(temporary), options.scene_px))
        raw = raw_statistics(grounds)
        ways = {}
        for name, settings in _WAYS.items():
            params = AugmentParams(**settings)
            windows = WindowPatches(grounds, recipe, uniform_sampler(grounds, options.size_px, 1, turns=8), 1,
                                    value_changes(params, BANDS, raw))
            source = augmented(windows, params, 1, CLASSES)
            ways[name] = (source, False)
            if name in _FLOAT:
                ways[f"{name}, to float"] = (source, True)
        recycled = {name: Recycled() for name in ways}
        rounds = [{name: seconds(source, epoch, to_float, recycled[name])
                   for name, (source, to_float) in ways.items()} for epoch in range(options.repeats + 1)][1:]
    patches = _BATCH * _BATCHES
    result = {name: {"per_second": patches / statistics.median(r[name] for r in rounds),
                     "cost_ms": statistics.median(r[name] - r["plain"] for r in rounds) / patches * 1000}
              for name in ways}
    print(f"patches of {options.size_px}x{options.size_px}x{len(BANDS)}, one process, one thread")
    for name, found in result.items():
        print(f"  {name:22s} {found['per_second']:8.0f} /s  {found['cost_ms']:7.3f} ms")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
