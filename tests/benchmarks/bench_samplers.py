"""What each sampler costs: to open on a large scene, to place a window, and in patches per second beside `random`.

    python -m tests.benchmarks.bench_samplers [--size-px 4096] [--patch-px 128] [--repeats 5] [--out FILE.json]

The scene is noise of three classes (`patch_store.py`), the hardest case for interfaces, which are everywhere. Opening
is what comes on top of `open_ground`: counts by class and row, windows that are measured, the lattice. Rates are of
whole batches of 8 as they travel to the device (`draw` and `collate`). All samplers run interleaved, after one round
that warms the page cache; rates are medians over the repeats, ratios medians of the ratios within each repeat. Peak
memory is numpy's and Python's own while opening.
"""

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import torch

from pipeline.features.channels import ChannelRecipe
from pipeline.params.patches import PatchParams
from pipeline.patches.batch import Recycled, collate
from pipeline.patches.composition import open_sampler
from pipeline.patches.ground import TrainGround, open_ground
from pipeline.patches.samplers import Sampler
from pipeline.patches.source import WindowPatches
from tests.benchmarks.patch_store import BANDS, CLASSES, make_store

_BATCH, _BATCHES, _PLACES = 8, 64, 4096
_PLAIN = ChannelRecipe.named(BANDS, BANDS, None, 10000.0)
_INTERFACE = {"interface": CLASSES[:2], "interface_share": 0.3}
_SAMPLERS = {"random": {"name": "random"}, "random, interface": {"name": "random", **_INTERFACE},
             "balanced": {"name": "balanced"}, "balanced, interface": {"name": "balanced", **_INTERFACE},
             "balanced, pixels": {"name": "balanced", "composition_of": "pixels"}, "grid": {"name": "grid"},
             "image": {"name": "image"}}


def opened(grounds: list[TrainGround], sampling: dict[str, object], size: int) -> Sampler:
    """A sampler of these settings."""
    params = PatchParams.model_validate({"size_px": size, "sampling": sampling})
    return open_sampler(grounds, params, np.full(len(CLASSES), 1 / len(CLASSES)), seed=1).sampler


def opening(grounds: list[TrainGround], sampling: dict[str, object], size: int) -> dict[str, float]:
    """Seconds and peak MiB of opening."""
    start = time.perf_counter()
    opened(grounds, sampling, size)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    opened(grounds, sampling, size)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return {"open_s": seconds, "peak_mib": peak}


def place_us(sampler: Sampler, first: int) -> float:
    """Microseconds of a place."""
    start = time.perf_counter()
    for index in range(first, first + _PLACES):
        sampler.place(0, index)
    return (time.perf_counter() - start) / _PLACES * 1e6


def rate(source: WindowPatches, recycled: Recycled, first: int) -> float:
    """Patches per second over _BATCHES batches."""
    start = time.perf_counter()
    for batch in range(first, first + _BATCHES):
        collate([source.draw(0, i) for i in range(batch * _BATCH, (batch + 1) * _BATCH)], recycled)
    return _BATCH * _BATCHES / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=4096, help="side of the scene")
    parser.add_argument("--patch-px", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # `image` says that half the scene is held out
    with tempfile.TemporaryDirectory() as temporary:
        grounds = open_ground(*make_store(Path(temporary), options.size_px))
        samplers = {name: opened(grounds, settings, options.patch_px) for name, settings in _SAMPLERS.items()}
        result = {name: opening(grounds, settings, options.patch_px) for name, settings in _SAMPLERS.items()}
        sources = {name: WindowPatches(grounds, _PLAIN, sampler, 1) for name, sampler in samplers.items()}
        recycled = Recycled()
        rounds = [{name: (place_us(samplers[name], r * _PLACES), rate(sources[name], recycled, r * _BATCHES))
                   for name in _SAMPLERS} for r in range(options.repeats + 1)][1:]
    print(f"scene {options.size_px} px, patches of {options.patch_px} px, one process, one thread, warm")
    print(f"{'sampler':22s} {'open s':>7s} {'peak MiB':>9s} {'us a place':>11s} {'patches/s':>10s} {'to random':>10s}")
    for name, row in result.items():
        row["place_us"] = statistics.median(r[name][0] for r in rounds)
        row["patches_per_s"] = statistics.median(r[name][1] for r in rounds)
        row["ratio"] = statistics.median(r[name][1] / r["random"][1] for r in rounds)
        print(f"{name:22s} {row['open_s']:7.2f} {row['peak_mib']:9.1f} {row['place_us']:11.1f} "
              f"{row['patches_per_s']:10.0f} {row['ratio']:10.2f}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
