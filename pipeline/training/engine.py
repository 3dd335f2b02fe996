"""The training loop: steps in parts, on one device or several, resumed exactly where it was killed, mid-epoch too.

Validation is handed in as a function and logging as a RunLog, so that the engine depends on neither.

Shape legend: K classes.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from tqdm import tqdm

from pipeline.errors import ModelError
from pipeline.networks.file_size import warn_of_size
from pipeline.networks.segmenter import Segmenter
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.patches.loader import EpochBatches
from pipeline.patches.source import PatchSource
from pipeline.seeding import part_ways
from pipeline.training.averages import Averages
from pipeline.training.keeper import Keeper
from pipeline.training.optimizer import Freezing, build_optimizer, set_rates
from pipeline.training.precision import leave_inputs_alone
from pipeline.training.preflight import Shape
from pipeline.training.progress import history_csv
from pipeline.training.ranks import Ranks
from pipeline.training.resume import ResumeStore
from pipeline.training.schedule import momentum, rate_factor
from pipeline.training.start import begin, place
from pipeline.training.step import Launched, Stepper
from pipeline.types import AnyArray, RunLog

__all__ = ["Scorer", "Trained", "history_csv", "open_fabric", "summary", "train_network"]

#: How long a device waits for the others' gradients. Nobody waits here for what the main process alone does (see
#: pipeline.training.ranks); only a GPU left behind by a killed process would wait so long.
_PEERS = timedelta(hours=2)

#: Val scores of a segmenter by name (`mcc`, `macro_iou`, `iou_<class>`), NaN where undefined.
Scorer = Callable[[Segmenter], Mapping[str, float]]


@dataclass(frozen=True)
class Trained:
    """A finished training: the chosen weights, and one row an epoch."""

    segmenter: Segmenter
    history: list[dict[str, float]]
    best_epoch: int


def open_fabric(params: TrainParams) -> Fabric:
    """Devices and precision as asked; several devices train data-parallel (launched here, or joined to torchrun).

    Raises:
        ModelError: the machine has no such devices, or they cannot compute in that precision.
    """
    # What deterministic matrix products need on CUDA; read when the device is first touched.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(params.threads)
    # Frozen layers get no gradient; and only so do the buckets of gradients keep their layout from the first step on,
    # without which a resumed training would sum over ranks in another order.
    strategy = DDPStrategy(find_unused_parameters=True, timeout=_PEERS) if params.devices > 1 else "auto"
    try:
        fabric = Fabric(accelerator=params.accelerator, devices=params.devices, strategy=strategy,
                        precision=params.precision)
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ModelError(f"train.accelerator and train.devices must name devices of this machine: "
                         f"{params.accelerator} x {params.devices}: {' '.join(str(error).split())[:200]}") from error
    if params.precision == "16-mixed" and fabric.device.type == "cpu":
        raise ModelError("train.precision 16-mixed needs a GPU: this training runs on the CPU; "
                         "use bf16-mixed or 32-true")
    leave_inputs_alone(fabric)
    fabric.launch()
    return fabric


def train_network(fabric: Fabric, spec: ModelSpec, source: PatchSource, class_weights_K: AnyArray, params: TrainParams,
                  score: Scorer, resume: ResumeStore, log: RunLog,
                  start: Mapping[str, torch.Tensor] | None = None, scored_NHW: Shape | None = None) -> Trained:
    """Train from the resume state (or the start) to the end; the global generators must have been seeded.

    Args:
        fabric: where to compute.
        spec: the network.
        source: patches.
        class_weights_K: weight of each class in the cross-entropy.
        params: everything else.
        score: val scores, called on the main process after each epoch.
        resume: where the state is kept.
        log: receives the row of each epoch.
        start: weights to start from by name; those not named start as built.
        scored_NHW: the largest batch that `score` hands to the network, for the memory pre-flight.

    Raises:
        ModelError: the loss or a gradient is not finite (the last good state stays in the resume state), `start` or a
            step does not fit, gradients cannot be repeated on the device, or, on other ranks, the main process failed.
    """
    segmenter = place(begin(spec, params, start), params, fabric, scored_NHW)
    warn_of_size(segmenter, params)
    return Training(fabric, segmenter, source, class_weights_K, params, resume).run(score, log)


class Training:
    """One training under way, on this rank; `train_network` runs it."""

    def __init__(self, fabric: Fabric, segmenter: Segmenter, source: PatchSource, class_weights_K: AnyArray,
                 params: TrainParams, resume: ResumeStore) -> None:
        self._params, self._segmenter = params, segmenter
        self._classes = segmenter.spec.classes
        self._steps = params.patches.per_epoch // params.batch_size
        self._ranks = Ranks(fabric)
        self._averages = Averages(segmenter, params.ema_decay) if params.ema_decay else None
        self._freezing = Freezing(segmenter, params.optimizer, params.epochs)
        optimizer = build_optimizer(segmenter, params.optimizer)
        self._keeper = Keeper(fabric, self._ranks, resume, segmenter, optimizer, self._averages, params.save_every_s)
        part_ways(fabric.global_rank)
        self.progress = self._keeper.restore(len(self._classes))
        self._model, self._optimizer = fabric.setup(segmenter, optimizer)
        self._model.mark_forward_method("outputs")
        self._stepper = Stepper(fabric, self._ranks, self._model, self._optimizer, params, class_weights_K,
                                self._classes)
        self.batches = EpochBatches(source, params.patches.per_epoch, params.batch_size, params.accumulation,
                                    fabric.global_rank, fabric.world_size, params.workers,
                                    pin_memory=fabric.device.type == "cuda")

    def run(self, score: Scorer, log: RunLog) -> Trained:
        """Train to the end."""
        progress, params = self.progress, self._params
        with tqdm(total=params.epochs, initial=progress.epoch, desc="train", unit="epoch", disable=None) as bar:
            while progress.epoch < params.epochs and not progress.stopped(params):
                self.epoch()
                self._close_epoch(score, log)
                bar.update()
                bar.set_postfix(progress.shown(params))
        self._segmenter.load_state_dict(progress.best_weights)
        return Trained(self._segmenter.cpu().eval(), progress.history, progress.best_epoch)

    def epoch(self) -> None:
        """The steps of the running epoch that are still to be made."""
        progress = self.progress
        self._model.train()
        self._freezing.begin(progress.epoch)
        pending: Launched | None = None
        for parts in self.batches.epoch(progress.epoch, progress.step):
            self._set_rate()
            for part in parts:
                progress.drawn_K = [n + m for n, m in zip(progress.drawn_K, part.tally().pixels, strict=False)]
            launched = self._stepper.launch(parts, progress.epoch, progress.step)
            if self._averages is not None:
                self._averages.update(self._segmenter)
            # One step late, so that the device has work while the host looks.
            due = self._settle(pending) if pending else False
            pending = launched
            progress.step += 1
            if due or self._params.save_every_s == 0:
                self._settle(pending)
                pending = None
                self._keeper.save(progress, self._drawn_K())
        if pending:
            self._settle(pending)
        self._stepper.check_scale()

    def _set_rate(self) -> None:
        params, progress = self._params, self.progress
        step = progress.epoch * self._steps + progress.step
        progress.rate = params.optimizer.lr * rate_factor(params.schedule, step, self._steps, params.epochs,
                                                          progress.scores(params))
        set_rates(self._optimizer, progress.rate,
                  momentum(params.schedule, params.optimizer.momentum, step, self._steps * params.epochs))

    def _settle(self, launched: Launched) -> bool:
        """Take in what a step has told; whether the main process wants to save.

        Raises:
            ModelError: something is not finite, on whichever rank.
        """
        values = launched.values()
        complaint = launched.complaint(values)
        loss, bad, due = self._ranks.sums([sum(values[:len(launched.places)]), bool(complaint),
                                           self._ranks.first and self._keeper.due()])
        if bad:
            told = next(filter(None, self._ranks.gathered(complaint)))
            raise ModelError(f"{told} (run again, the same training would go on from {self._keeper.kept} and come here "
                             "again)")
        self.progress.loss += loss
        return due > 0

    def _drawn_K(self) -> list[int]:
        return [int(n) for n in self._ranks.sums(self.progress.drawn_K)]

    def _close_epoch(self, score: Scorer, log: RunLog) -> None:
        progress = self.progress
        segmenter = self._averages.segmenter if self._averages is not None else self._segmenter
        row = progress.row(self._steps, self._classes, self._drawn_K())
        if self._params.scores_epoch(progress.epoch + 1):
            row.update(self._ranks.of_first(lambda: _scores(score, segmenter)))
        progress.close_epoch(row, segmenter, self._params)
        if self._ranks.of_first(lambda: self._keeper.due(within_epoch=False)):
            self._keeper.save(progress, progress.drawn_K)
        # After the save, which takes time: a kill within it would have the epoch told twice.
        values = {k: v for k, v in row.items() if k != "epoch"}
        self._ranks.of_first(lambda: log.metrics(values, step=progress.epoch))


def _scores(score: Scorer, segmenter: Segmenter) -> dict[str, float]:
    segmenter.eval()
    return {f"val_{name}": float(value) for name, value in score(segmenter).items()}


def summary(trained: Trained) -> dict[str, Any]:
    """The chosen epoch, the number of epochs, and the chosen epoch's val scores (None where undefined)."""
    best = trained.history[trained.best_epoch - 1]
    return {"best_epoch": trained.best_epoch, "epochs": len(trained.history),
            **{k: None if math.isnan(v) else v for k, v in best.items() if k.startswith("val_")}}
