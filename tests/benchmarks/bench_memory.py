"""Peak memory of two training steps, with and without accumulation and mixed precision, beside the pre-flight.

    python -m tests.benchmarks.bench_memory [--encoder efficientnet-b7] [--sizes 128 256] [--out FILE.json]

Every configuration is a process of its own that trains a U-Net (encoder depth 5, the library's decoder, 4 bands, 4
classes, AdamW, cross-entropy + dice, batch 8) through the engine for two optimizer steps on patches of noise. `peak` is
what the process took beyond what it held before: on CPUs the highest resident size (getrusage) less the resident size
before the network was built, on GPUs torch.cuda.max_memory_reserved (what the driver gave) and, in brackets,
max_memory_allocated. `pre-flight` is the estimate with its margin, and in brackets without. `above` is how much of the
peak the estimate has to spare; it must not be negative. `of plain` is the peak's share of the first row of its size.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.patches.source import Patch
from pipeline.seeding import generator, seed_everything
from pipeline.types import SilentLog, Window

_MIB = 2**20
#: Settings of TrainParams by row.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation 4": {"accumulation": 4},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-mixed, accumulation 4": {"precision": "bf16-mixed", "accumulation": 4},
    "bf16-mixed, accumulation 8": {"precision": "bf16-mixed", "accumulation": 8},
}


class Noise:
    """A source of patches without a scene."""

    def __init__(self, size_px: int, channels: int, classes: int) -> None:
        self._shape, self._channels, self._classes = (size_px, size_px), channels, classes

    def draw(self, epoch: int, index: int) -> Patch:
        """A patch of noise."""
        rng = generator(0, "noise", epoch, index)
        image = rng.integers(0, 3000, (*self._shape, self._channels), dtype=np.uint16)
        labels = rng.integers(0, self._classes, self._shape, dtype=np.uint8)
        ones = np.ones(self._shape, np.uint8)
        return Patch(image, 2 * ones, ones, labels, np.ones(self._shape, np.float32), 0, "noise",
                     Window(0, 0, *self._shape))


def spec_of(train: TrainParams, channels: int = 4, classes: int = 4) -> ModelSpec:
    """A spec without a scene."""
    return ModelSpec(network=train.network, bands=tuple("abcdefgh"[:channels]), classes=tuple("stuvwxyz"[:classes]),
                     colors=("#000000",) * classes, background="s", reflectance_scale=10000, mean=(1500,) * channels,
                     std=(900,) * channels, low=(0,) * channels, high=(3000,) * channels,
                     patch_size_px=train.patches.size_px, size_multiple=2**train.network.encoder_depth,
                     pixel_size_m=10, split="0" * 64)


def measure(settings: dict[str, Any]) -> dict[str, int]:
    """Train two steps in this process; bytes of the peak and of the estimate."""
    from pipeline.training.engine import open_fabric, train_network
    from pipeline.training.preflight import preflight
    from pipeline.training.resume import ResumeStore

    batch = settings.get("batch_size", 8)
    train = TrainParams.model_validate({"epochs": 1, "schedule": {"warmup_epochs": 0}, **settings, "patches": {
        "size_px": settings["patches"]["size_px"], "per_epoch": 2 * batch}})
    spec = spec_of(train)
    fabric = open_fabric(train)
    seed_everything(0)
    need = preflight(spec, train, fabric.device)
    before = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        train_network(fabric, spec, Noise(train.patches.size_px, 4, 4), np.ones(4), train, lambda _: {"mcc": 0.0},
                      ResumeStore(Path(folder), "bench"), SilentLog())
    if fabric.device.type == "cuda":
        peak, tensors = torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        tensors = peak
    return {"peak": peak, "tensors": tensors, "estimate": need.total, "margin": need.margin}


def in_child(settings: dict[str, Any]) -> dict[str, int]:
    """`measure` in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_memory", "--one", json.dumps(settings)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table; `--one` is the child's part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="efficientnet-b7")
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(json.loads(args.one))))
        return
    rows = []
    print(f"{'patch':>5}  {'':28}{'peak MiB':>18}{'of plain':>10}{'pre-flight MiB':>18}{'above':>8}")
    for size in args.sizes:
        plain = 0
        for name, case in CASES.items():
            found = in_child({"network": {"encoder": args.encoder, "encoder_depth": args.depth, "decoder_channels": []},
                              "patches": {"size_px": size}, **case})
            plain = plain or found["peak"]
            rows.append({"size_px": size, "case": name, **found})
            peak = f"{found['peak'] / _MIB:.0f} ({found['tensors'] / _MIB:.0f})"
            estimate = f"{found['estimate'] / _MIB:.0f} ({(found['estimate'] - found['margin']) / _MIB:.0f})"
            print(f"{size:5}  {name:28}{peak:>18}{found['peak'] / plain:10.2f}{estimate:>18}"
                  f"{found['estimate'] / found['peak'] - 1:8.0%}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
