"""Patches per second: Kumulus, plain numpy over the same memory maps, and TorchGeo, in one process each.

    python -m tests.benchmarks.bench_patches [--size-px 4096] [--repeats 5] [--torchgeo-python PATH] [--out FILE.json]

`raw` is what travels to the device: image NHWC in the store's uint16, visible NHW bool, labels NHW uint8 (255 where no
label may be learnt), weight NHW float32, stacked to batches of 8 in arrays that are used again for the next batch.

- kumulus: `WindowPatches.draw` (a labelled train pixel drawn uniformly, a window around it) and `collate`.
- numpy: windows anywhere in the scene; `visible = (ground > 0) & (valid == 1)`, `labels = np.where((ground == 2) &
  visible, labels, 255)`, copies of image and weight, each from an np.memmap, put into the batch's arrays.
- copy: the four arrays copied from their maps as they are, unmasked: what no way of making these tensors can beat.
- image: the image alone, copied, one array a patch and none kept.

`float` is what the network takes on the CPU: image float32 NCHW with NaN where not visible, labels int64, weight
float32 and 0 where ignored, flipped and turned at random. Kumulus makes it from `raw` in the batch (for a GPU it does
so there); numpy makes it patch by patch.

All ways run interleaved, after one round that warms the page cache; a rate is the median over the repeats, a ratio the
median of the ratios within each repeat. TorchGeo (`torchgeo_rates.py`, run by an interpreter that has it) reads the
same image and labels as GeoTIFFs: RandomGeoSampler and DataLoader without workers, which gives float32 image and int64
mask, no masks of validity, no weights. Its cold rate is over the first pass of a fresh process whose files were dropped
from the page cache, its warm rate the best of three more passes over the same places.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.features.channels import ChannelRecipe
from pipeline.patches.batch import Batch, Recycled, collate
from pipeline.patches.ground import TrainGround, open_ground
from pipeline.patches.samplers import uniform_sampler
from pipeline.patches.source import WindowPatches
from pipeline.patches.statistics import band_statistics
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from tests.benchmarks.patch_store import BANDS, make_store

_BATCH, _BATCHES = 8, 64
_PLAIN = ChannelRecipe.named(BANDS, BANDS, None, 10000.0)

Tensors = tuple[torch.Tensor, ...]


def _source(grounds: list[TrainGround], size: int) -> WindowPatches:
    return WindowPatches(grounds, _PLAIN, uniform_sampler(grounds, size, seed=1, turns=8), seed=1)


class PlainNumpy:
    """Random windows of np.memmap arrays."""

    def __init__(self, store: SceneStore, split: Split, size: int) -> None:
        scene = store.scenes[0]
        self._maps = scene.image, scene.valid, scene.labels, scene.weight, split.ground_map(scene.id)
        self._size, self._shape = size, scene.grid.shape
        self._rng = np.random.default_rng(1)
        shape = (_BATCH, size, size)
        self._out = (np.empty((*shape, len(BANDS)), np.uint16), np.empty(shape, bool), np.empty(shape, np.uint8),
                     np.empty(shape, np.float32))

    def _place(self) -> tuple[slice, slice]:
        row, col = (int(self._rng.integers(n - self._size + 1)) for n in self._shape)
        return slice(row, row + self._size), slice(col, col + self._size)


    def copy(self) -> Tensors:
        """The four arrays as they are."""
        image, valid, labels, weight, _ = self._maps
        out = self._out
        for i in range(_BATCH):
            place = self._place()
            for target, source in zip(out, (image, valid, labels, weight), strict=True):
                target[i] = source[place]
        return tuple(torch.from_numpy(a) for a in out)

    def image(self) -> Tensors:
        """The image alone."""
        for _ in range(_BATCH):
            np.array(self._maps[0][self._place()])
        return ()

    def raw(self) -> Tensors:
        """The four arrays, with what training must not see marked."""
        image, valid, labels, weight, ground = self._maps
        out = self._out
        for i in range(_BATCH):
            place = self._place()
            out[0][i] = image[place]
            out[1][i] = (ground[place] > 0) & (valid[place] == 1)
            out[2][i] = np.where((ground[place] == 2) & out[1][i], labels[place], 255)
            out[3][i] = weight[place]
        return tuple(torch.from_numpy(a) for a in out)

    def float(self) -> Tensors:
        """Image, labels and weight as a network takes them."""
        maps = self._maps
        patches = [self._float_patch(*maps) for _ in range(_BATCH)]
        return tuple(torch.from_numpy(np.stack(a)) for a in zip(*patches, strict=True))

    def _float_patch(self, image: np.ndarray, valid: np.ndarray, labels: np.ndarray, weight: np.ndarray,
                     ground: np.ndarray) -> tuple[np.ndarray, ...]:
        place, turn = self._place(), int(self._rng.integers(8))
        visible = (ground[place] > 0) & (valid[place] == 1)
        values = np.moveaxis(image[place], -1, 0).astype(np.float32)
        values[:, ~visible] = np.nan
        truth = np.where((ground[place] == 2) & visible, labels[place], 255).astype(np.int64)
        arrays = (values, truth, np.where(truth != 255, weight[place], 0))
        return tuple(np.rot90(a[..., ::-1] if turn >= 4 else a, turn % 4, axes=(-2, -1)) for a in arrays)


class Kumulus:
    """The project's patches."""

    def __init__(self, store: SceneStore, split: Split, size: int) -> None:
        self._source = _source(open_ground(store, split), size)
        self._next = 0
        self._recycled = Recycled()

    def _batch(self) -> Batch:
        self._next += _BATCH
        return collate([self._source.draw(0, i) for i in range(self._next - _BATCH, self._next)], self._recycled)

    def raw(self) -> Tensors:
        """The batch as it travels."""
        batch = self._batch()
        return batch.raw_NHWC, batch.visible_NHW, batch.raw_labels_NHW, batch.raw_weight_NHW

    def float(self) -> Tensors:
        """The batch as the network takes it."""
        batch = self._batch()
        return batch.image(), *batch.targets()


def rate(make: Callable[[], Tensors]) -> float:
    """Patches per second over _BATCHES batches."""
    start = time.perf_counter()
    for _ in range(_BATCHES):
        make()
    return _BATCH * _BATCHES / (time.perf_counter() - start)


def measure(store: SceneStore, split: Split, size: int, repeats: int) -> dict[str, float]:
    """Rates and ratios for one patch size; both sides give tensors of equal shapes and types."""
    ours, numpy = Kumulus(store, split, size), PlainNumpy(store, split, size)
    ways = {"kumulus raw": ours.raw, "numpy raw": numpy.raw, "copy": numpy.copy, "image": numpy.image,
            "kumulus float": ours.float, "numpy float": numpy.float}
    for kind in ("raw", "float"):
        shapes = [[(t.shape, t.dtype) for t in ways[f"{who} {kind}"]()] for who in ("kumulus", "numpy")]
        if shapes[0] != shapes[1]:
            raise SystemExit(f"both sides must give the same tensors: {shapes}")
    rounds = [{name: rate(make) for name, make in ways.items()} for _ in range(repeats + 1)][1:]
    result = {name: statistics.median(r[name] for r in rounds) for name in ways}
    for name, other in (("raw", "numpy raw"), ("float", "numpy float"), ("copy", "copy")):
        mine = "kumulus float" if name == "float" else "kumulus raw"
        result[f"ratio {name}"] = statistics.median(r[mine] / r[other] for r in rounds)
    return result


def opening(folder: Path, sizes: list[int]) -> list[dict[str, float]]:
    """Seconds and peak MiB (numpy's and Python's own) of what a training does before its first step, by scene size."""
    rows = []
    for size in sizes:
        store, split = make_store(folder / str(size), size)
        start = time.perf_counter()
        grounds = open_ground(store, split)
        band_statistics(grounds, _PLAIN)
        seconds = time.perf_counter() - start
        tracemalloc.start()
        grounds = open_ground(store, split)
        band_statistics(grounds, _PLAIN)
        collate([_source(grounds, 256).draw(0, i) for i in range(8)])
        rows.append({"size_px": size, "seconds": seconds, "peak_mib": tracemalloc.get_traced_memory()[1] / 2**20})
        tracemalloc.stop()
    return rows


def torchgeo(python: Path, folder: Path, size: int) -> dict[str, float]:
    """TorchGeo's rates, measured by an interpreter that has it."""
    script = Path(__file__).with_name("torchgeo_rates.py")
    done = subprocess.run([str(python), "-W", "ignore", str(script), str(folder / "scenes/one"), str(size)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script.name} failed: {done.stderr[-2000:]}")
    rates: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=4096, help="side of the scene")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torchgeo-python", type=Path, help="an interpreter with torchgeo installed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store, split = make_store(folder, options.size_px)
        result: dict[str, object] = {}
        print(f"patches per second, one process, one thread, warm; scene {options.size_px} px")
        for size in (128, 256):
            found = measure(store, split, size, options.repeats)
            result[str(size)] = found
            for name, value in found.items():
                print(f"  {size}x{size}x{len(BANDS)}  {name:14s} {value:10.2f}" if name.startswith("ratio") else
                      f"  {size}x{size}x{len(BANDS)}  {name:14s} {value:10.0f}")
            if options.torchgeo_python:
                rates = torchgeo(options.torchgeo_python, folder, size)
                result[f"torchgeo {size}"] = rates
                print("".join(f"  {size}x{size}x{len(BANDS)}  torchgeo {k:5s} {v:10.0f}\n" for k, v in rates.items()),
                      end="")
        result["opening"] = opening(folder, [1024, 2048, 4096])
        print("opening a scene and its statistics")
        for row in result["opening"]:
            print(f"  {row['size_px']:6.0f} px  {row['seconds']:6.2f} s  peak {row['peak_mib']:6.1f} MiB")
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
