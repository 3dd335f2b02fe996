"""The training loop: steps in parts, on one device or several, resumed exactly where it was killed.

Validation is handed in as a function and logging as a RunLog, so that the engine depends on neither.

Shape legend: N patches, K classes, C bands, H rows, W columns.
"""

import csv
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.optim import AdamW
from tqdm import tqdm

from pipeline.errors import ModelError
from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.networks.segmenter import Segmenter, build
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.patches.batch import Batch
from pipeline.patches.loader import EpochBatches
from pipeline.patches.source import PatchSource
from pipeline.training.resume import ResumeStore
from pipeline.training.schedule import rate_factor, stale_epochs
from pipeline.types import AnyArray, RunLog

#: Val scores of a segmenter by name (`mcc`, `macro_iou`, `iou_<class>`), NaN where undefined.
Scorer = Callable[[Segmenter], Mapping[str, float]]


@dataclass(frozen=True)
class Trained:
    """A finished training: the chosen weights, and one row an epoch."""

    segmenter: Segmenter
    history: list[dict[str, float]]
    best_epoch: int


@dataclass
class _Progress:
    """Everything that changes while training, but for the weights and the optimizer."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)


def open_fabric(params: TrainParams) -> Fabric:
    """Devices and precision as asked; several devices train data-parallel (launched here, or joined to torchrun).

    Raises:
        ModelError: the machine has no such devices, or they cannot compute in that precision.
    """
    # What deterministic matrix products need on CUDA; read when the device is first touched.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(params.threads)
    # Encoders keep stages below encoder_depth that no gradient reaches.
    strategy = DDPStrategy(find_unused_parameters=True) if params.devices > 1 else "auto"
    try:
        fabric = Fabric(accelerator=params.accelerator, devices=params.devices, strategy=strategy,
                        precision=params.precision)
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ModelError(f"train.accelerator and train.devices must name devices of this machine: "
                         f"{params.accelerator} x {params.devices}: {' '.join(str(error).split())[:200]}") from error
    if params.precision == "16-mixed" and fabric.device.type == "cpu":
        raise ModelError("train.precision 16-mixed needs a GPU: this training runs on the CPU; "
                         "use bf16-mixed or 32-true")
    fabric.launch()
    return fabric


def train_network(fabric: Fabric, spec: ModelSpec, source: PatchSource, class_weights_K: AnyArray, params: TrainParams,
                  score: Scorer, resume: ResumeStore, log: RunLog) -> Trained:
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

    Raises:
        ModelError: the loss is not finite; the last good epoch stays in the resume state.
    """
    segmenter = build(spec).to(fabric.device)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        segmenter = torch.nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)
    optimizer = AdamW(segmenter.parameters(), lr=params.optimizer.lr, weight_decay=params.optimizer.weight_decay)
    progress = _restore(resume, segmenter, optimizer, fabric)
    model, wrapped = fabric.setup(segmenter, optimizer)
    loss = TotalLoss(params.loss.weights, torch.as_tensor(class_weights_K, dtype=torch.float32))
    batches = EpochBatches(source, params.patches.per_epoch, params.batch_size, params.accumulation,
                           fabric.global_rank, fabric.world_size, params.workers)
    bar = tqdm(total=params.epochs, initial=progress.epoch, desc="train", unit="epoch", disable=None)
    while progress.epoch < params.epochs and not _stopped(progress, params):
        row = _epoch(fabric, model, wrapped, loss, batches, params, progress)
        row.update(fabric.broadcast(_scores(score, segmenter) if fabric.is_global_zero else {}))
        _note(progress, row, segmenter, params)
        if fabric.is_global_zero:
            log.metrics({k: v for k, v in row.items() if k != "epoch"}, step=progress.epoch)
            resume.save(_state(progress, segmenter, optimizer, fabric))
        bar.update()
        bar.set_postfix(loss=f"{row['train_loss']:.3f}", best=f"{progress.best_score:.3f}")
    bar.close()
    segmenter.load_state_dict(progress.best_weights)
    return Trained(segmenter.cpu().eval(), progress.history, progress.best_epoch)


def _epoch(fabric: Fabric, model: Any, optimizer: Any, loss: TotalLoss, batches: EpochBatches, params: TrainParams,
           progress: _Progress) -> dict[str, float]:
    model.train()
    steps = params.patches.per_epoch // params.batch_size
    summed, rate = 0.0, 0.0
    for i, parts in enumerate(batches.epoch(progress.epoch)):
        rate = params.optimizer.lr * rate_factor(params.schedule, progress.epoch * steps + i, steps, params.epochs,
                                                 _monitored(progress.history, params))
        for group in optimizer.param_groups:
            group["lr"] = rate
        summed += _step(fabric, model, optimizer, loss, parts, params)
    return {"epoch": progress.epoch + 1, "lr": rate, "train_loss": summed / steps}


def _step(fabric: Fabric, model: Any, optimizer: Any, loss: TotalLoss, parts: Sequence[Batch],
          params: TrainParams) -> float:
    """One optimizer step over all parts and devices; its loss."""
    # Raw patches of a step are small, and what they become is computed where it is used.
    batches = [part.to(fabric.device) for part in parts]
    targets = [batch.targets() for batch in batches]
    importance = sum(loss.importance(*target) for target in targets)
    totals = StepTotals(_over_devices(fabric, importance), params.batch_size)
    optimizer.zero_grad()
    value = 0.0
    for i, (batch, (labels, weight)) in enumerate(zip(batches, targets, strict=True)):
        with fabric.no_backward_sync(model, enabled=i + 1 < len(parts)):
            share = loss(model(batch.image()), labels, weight, totals)
            if not bool(torch.isfinite(share)):
                raise ModelError(f"the training loss must stay finite: got {share.item()} on patches "
                                 f"{list(batch.places)}; lower train.optimizer.lr, or look at these places")
            # DDP averages gradients over devices, while the parts of a step add up.
            fabric.backward(share * fabric.world_size)
        value += float(share.detach())
    if params.optimizer.clip_norm:
        fabric.clip_gradients(model, optimizer, max_norm=params.optimizer.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    return _over_devices(fabric, value)


def _over_devices(fabric: Fabric, value: float) -> float:
    """The sum of every device's value."""
    total = fabric.all_reduce(torch.tensor(value, dtype=torch.float64, device=fabric.device), reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return total.item()


def _scores(score: Scorer, segmenter: Segmenter) -> dict[str, float]:
    segmenter.eval()
    return {f"val_{name}": value for name, value in score(segmenter).items()}


def _monitor_key(params: TrainParams) -> str:
    return "val_" + params.monitor.replace(":", "_")


def _monitored(history: Sequence[Mapping[str, float]], params: TrainParams) -> list[float]:
    return [row[_monitor_key(params)] for row in history]


def _note(progress: _Progress, row: dict[str, float], segmenter: Segmenter, params: TrainParams) -> None:
    """Append the row, and keep the weights if they are the ones to choose so far."""
    progress.history.append(row)
    progress.epoch += 1
    value = row[_monitor_key(params)]
    value = -math.inf if math.isnan(value) else value
    # The later of equal scores: a rare class may stay at 0 for the first epochs.
    if params.select == "last" or value >= progress.best_score:
        progress.best_epoch, progress.best_score = progress.epoch, value
        progress.best_weights = {k: v.detach().cpu().clone() for k, v in segmenter.state_dict().items()}


def _stopped(progress: _Progress, params: TrainParams) -> bool:
    patience = params.early_stop_patience
    return patience > 0 and stale_epochs(_monitored(progress.history, params)) >= patience


def _state(progress: _Progress, segmenter: Segmenter, optimizer: AdamW, fabric: Fabric) -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state(fabric.device) if fabric.device.type == "cuda" else None
    return {"epoch": progress.epoch, "history": progress.history, "best_epoch": progress.best_epoch,
            "best_score": progress.best_score, "best_weights": progress.best_weights, "weights": segmenter.state_dict(),
            "optimizer": optimizer.state_dict(), "precision": fabric.strategy.precision.state_dict(),
            "torch_rng": torch.get_rng_state(), "cuda_rng": cuda}


def _restore(resume: ResumeStore, segmenter: Segmenter, optimizer: AdamW, fabric: Fabric) -> _Progress:
    state = resume.load()
    if state is None:
        return _Progress()
    segmenter.load_state_dict(state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    fabric.strategy.precision.load_state_dict(state["precision"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"], fabric.device)
    return _Progress(state["epoch"], state["history"], state["best_epoch"], state["best_score"], state["best_weights"])


def summary(trained: Trained) -> dict[str, Any]:
    """The chosen epoch, the number of epochs, and the chosen epoch's val scores (None where undefined)."""
    best = trained.history[trained.best_epoch - 1]
    return {"best_epoch": trained.best_epoch, "epochs": len(trained.history),
            **{k: None if math.isnan(v) else v for k, v in best.items() if k.startswith("val_")}}


def history_csv(history: Sequence[Mapping[str, float]]) -> str:
    """The rows as CSV with seven significant digits; NaN is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(history[0])
    for row in history:
        writer.writerow("" if math.isnan(v) else f"{v:.7g}" for v in row.values())
    return text.getvalue()
