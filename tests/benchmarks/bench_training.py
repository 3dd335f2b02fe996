"""The engine beside a bare PyTorch loop on tensors that are there already, and its share of time waiting for data.

    python -m tests.benchmarks.bench_training [--steps 24] [--repeats 7] [--workers N] [--precision 32-true] [--out F]

Both sides train the same network (U-Net with a resnet18, 128 px, batch 8 unless told otherwise) with the same loss,
clipping and AdamW on the same device, from equal weights, in one process, alternating; a rate is the median over the
repeats, the ratio the median of the ratios within each repeat. One round goes before and does not count.

- engine: `pipeline.training.engine`: patches drawn, cut, moved to the device, turned; classes counted, losses looked
  at, everything that one epoch does but scoring and saving.
- bare: for every batch, all of them on the device before the clock starts: zero_grad, forward, loss, backward, clip,
  step. Nothing is read back until the end, and nothing is checked.
- waiting: time in which the engine's loop stands in `next(batches)`, over the time of its steps. On a GPU that is
  host time, in which the device may well have work; workers cut patches beside it (--workers, by default 4 there, 0 on
  a CPU, where cutting is then part of the waiting).
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.networks.segmenter import Segmenter
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.batch import Batch, collate
from pipeline.seeding import seed_everything
from pipeline.training.engine import Training, open_fabric
from pipeline.training.prepare import Prepared, prepare
from pipeline.training.resume import ResumeStore
from pipeline.training.start import begin
from tests.benchmarks.patch_store import BANDS, make_store


class Watched:
    """An engine's batches; adds up how long each was waited for."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self.waited = 0.0

    def epoch(self, number: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """The steps, as the engine gets them."""
        steps = self._batches.epoch(number, first_step)
        while True:
            start = time.perf_counter()
            parts = next(steps, None)
            self.waited += time.perf_counter() - start
            if parts is None:
                return
            yield parts


class Engine:
    """Epochs of the project's training."""

    def __init__(self, ready: Prepared, segmenter: Segmenter, params: TrainParams, folder: Path) -> None:
        fabric = open_fabric(params)
        self._training = Training(fabric, segmenter.to(fabric.device), ready.source, ready.class_weights_K, params,
                                  ResumeStore(folder, ""))
        self._batches = Watched(self._training.batches)
        self._training.batches = self._batches

    def round(self) -> tuple[float, float]:
        """Seconds of one epoch's steps, and how many of them were waiting."""
        self._batches.waited = 0.0
        start = time.perf_counter()
        self._training.epoch()
        seconds = time.perf_counter() - start
        progress = self._training.progress
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.history.append({"val_mcc": 0.0})
        return seconds, self._batches.waited


class Bare:
    """A loop as one would write it in a notebook."""

    def __init__(self, ready: Prepared, segmenter: Segmenter, params: TrainParams, device: torch.device) -> None:
        self._network, self._params, self._device = segmenter.to(device).train(), params, device
        self._optimizer = torch.optim.AdamW(segmenter.parameters(), lr=params.optimizer.lr, weight_decay=1e-2)
        weights = torch.as_tensor(ready.class_weights_K, dtype=torch.float32, device=device)
        self._loss = TotalLoss(params.loss, weights, classes=ready.spec.classes)
        size = params.batch_size
        self._batches = []
        for first in range(0, params.patches.per_epoch, size):
            batch = collate([ready.source.draw(0, i) for i in range(first, first + size)]).to(device)
            labels, weight = batch.targets()
            self._batches.append((batch.image(), labels, weight,
                                  StepTotals(self._loss.importance(labels, weight), size)))
        mixed = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(params.precision)
        self._cast = torch.autocast(device.type, dtype=mixed or torch.bfloat16, enabled=mixed is not None)
        self._scaler = torch.amp.GradScaler(device.type, enabled=params.precision == "16-mixed")

    def round(self) -> float:
        """Seconds of as many steps as the engine makes."""
        start = time.perf_counter()
        for image, labels, weight, totals in self._batches:
            self._optimizer.zero_grad()
            with self._cast:
                logits = self._network(image)
            loss = self._loss(logits, labels, weight, totals)
            self._scaler.scale(loss).backward()
            self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._params.optimizer.clip_norm)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float | str]:
    """Rates, ratio and share."""
    cuda = torch.cuda.is_available()
    workers = options.workers if options.workers is not None else (4 if cuda else 0)
    params = TrainParams.model_validate({
        "network": {"architecture": options.architecture, "encoder": options.encoder},
        "patches": {"size_px": options.patch_px, "per_epoch": options.steps * options.batch},
        "batch_size": options.batch, "threads": options.threads, "workers": workers, "precision": options.precision,
        "epochs": options.repeats + 1, "save_every_s": 1e9})
    store, split = make_store(folder, options.size_px)
    task = Task.model_validate({"bands": list(BANDS), "background": split.classes[0], "classes": [
        {"name": name, "color": "#102030"} for name in split.classes]})
    ready = prepare(store, split, task, params, seed=1)
    device = open_fabric(params).device
    seed_everything(1)
    segmenter = begin(ready.spec, params, None)
    bare = Bare(ready, copy.deepcopy(segmenter), params, device)
    engine = Engine(ready, segmenter, params, folder / "resume")
    images = params.patches.per_epoch
    rounds = []
    for _ in range(options.repeats + 1):
        bare_s = bare.round()
        engine_s, waited_s = engine.round()
        rounds.append((images / engine_s, images / bare_s, bare_s / engine_s, waited_s / engine_s))
    engine_rate, bare_rate, ratio, waiting = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return {"device": torch.cuda.get_device_name() if cuda else "cpu", "precision": params.precision,
            "workers": workers, "engine_images_per_s": engine_rate, "bare_images_per_s": bare_rate, "ratio": ratio,
            "waiting_share": waiting, "ratio_low": min(row[2] for row in rounds[1:]),
            "ratio_high": max(row[2] for row in rounds[1:])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps of a round")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--architecture", default="Unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--patch-px", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size-px", type=int, default=2048, help="side of the scene")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(options, Path(temporary))
    for name, value in found.items():
        print(f"{name:22s} {value:.4g}" if isinstance(value, float) else f"{name:22s} {value}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
