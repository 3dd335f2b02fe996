"""One optimizer step over all parts and devices, and what it says once the device is done with it.

Shape legend: N patches, K classes, H rows, W columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.params.train import TrainParams
from pipeline.patches.batch import Batch
from pipeline.training.ranks import Ranks
from pipeline.types import AnyArray

#: A scaler's factor that no sound training comes down to: 24 more steps left out than any 2000 in a row were made.
_LEAST_SCALE = 2.0**-8


@dataclass(frozen=True)
class Launched:
    """A step that the device may still be at."""

    #: Both counted from 0.
    epoch: int
    step: int
    #: The windows of each part.
    places: tuple[tuple[str, ...], ...]
    #: Loss of each part, then the norm of the gradients (absent under a scaler, which looks after them).
    told: Tensor
    #: Reached when `told` is there; None where it always is.
    done: torch.cuda.Event | None

    def values(self) -> list[float]:
        """Wait for the device, and no longer than it takes to this step's end; `told` as numbers."""
        if self.done is not None:
            self.done.synchronize()
        return [float(value) for value in self.told.tolist()]

    def complaint(self, values: Sequence[float]) -> str:
        """What is not finite among the `values`, in words; "" if all is well."""
        losses = values[:len(self.places)]
        for loss, places in zip(losses, self.places, strict=True):
            if not math.isfinite(loss):
                return self._complaint("loss", loss, places)
        if not all(map(math.isfinite, values)):
            return self._complaint("gradients", values[-1], [place for part in self.places for place in part])
        return ""

    def _complaint(self, what: str, value: float, places: Sequence[str]) -> str:
        return (f"the training {what} must stay finite: got {value} on patches {list(places)} in epoch "
                f"{self.epoch + 1}, step {self.step + 1}; lower train.optimizer.lr, or look at these places")


class Stepper:
    """Makes steps: forward, loss and backward of each part, clipping, and the optimizer.

    Nothing in a step waits for the device: what the host must know beforehand is counted on the host, and what comes
    out is read when the next step is under way. So the device's queue never runs empty. Under train.precision
    16-mixed alone each step waits: its scaler asks the device whether gradients overflowed before it lets the optimizer
    step.
    """

    def __init__(self, fabric: Fabric, ranks: Ranks, model: Any, optimizer: Any, params: TrainParams,
                 class_weights_K: AnyArray, classes: Sequence[str]) -> None:
        weights = torch.as_tensor(class_weights_K, dtype=torch.float32)
        self._fabric, self._ranks, self._model, self._optimizer, self._params = fabric, ranks, model, optimizer, params
        self._loss = TotalLoss(params.loss, weights.to(fabric.device), ranks.over_devices(), classes)
        self._host_loss = TotalLoss(params.loss, weights, classes=classes)
        self._classes = len(classes)
        self._by_class = fabric.device.type != "cpu"
        self._scaled = params.precision == "16-mixed"

    def launch(self, parts: Sequence[Batch], epoch: int, step: int) -> Launched:
        """Start a step on its parts.

        Raises:
            ModelError: the weights of labels are not finite, or the device cannot repeat the network's gradients.
        """
        totals = StepTotals(self._total(parts), self._params.batch_size)
        self._optimizer.zero_grad()
        try:
            losses = self._losses(parts, totals, epoch)
        except RuntimeError as error:
            if "deterministic implementation" not in str(error):
                raise
            network = self._params.network
            raise ModelError(f"gradients must be the same whenever they are computed: {network.architecture} with "
                             f"encoder {network.encoder} has an operation that is not on "
                             f"{self._fabric.device.type} ({str(error).split()[0]}); set train.network.architecture "
                             "to another, such as Unet, or train.accelerator: cpu") from error
        told = torch.stack([*losses, *self._norm()])
        self._optimizer.step()
        done = None
        if told.device.type == "cuda":
            told = torch.empty(told.shape, pin_memory=True).copy_(told, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
        return Launched(epoch, step, tuple(part.places for part in parts), told, done)

    def _losses(self, parts: Sequence[Batch], totals: StepTotals, epoch: int) -> list[Tensor]:
        """The loss of each part, after forward and backward."""
        losses = []
        for i, part in enumerate(parts):
            with self._fabric.no_backward_sync(self._model, enabled=i + 1 < len(parts)):
                share = self._forward(part.to(self._fabric.device), totals, epoch)
                # DDP averages gradients over devices, while the parts of a step add up.
                self._fabric.backward(share * self._ranks.size)
            losses.append(share.detach().float())
        return losses

    def check_scale(self) -> None:
        """Look after a scaler, which leaves out steps whose gradients overflow and halves its factor each time.

        Raises:
            ModelError: it has come to leave out step after step.
        """
        scaler = getattr(self._fabric.strategy.precision, "scaler", None)
        if scaler is not None and scaler.get_scale() < _LEAST_SCALE:
            raise ModelError("gradients must stay finite for most steps under train.precision 16-mixed: the scaler, "
                             f"which starts at 65536, came down to {scaler.get_scale():.2g} by leaving out steps; use "
                             "bf16-mixed or a lower train.optimizer.lr")

    def _total(self, parts: Sequence[Batch]) -> float:
        total = self._ranks.sums([sum(self.importance(part, self._by_class) for part in parts)])[0]
        if not math.isfinite(total):
            raise ModelError(f"the weights of labels must be finite: they sum up to {total} over a step of which this "
                             f"process has patches {[place for part in parts for place in part.places]}; "
                             "look at weight.tif there, and run `dvc repro rasterize` again")
        return total

    def importance(self, part: Batch, by_class: bool = False) -> float:
        """The importance of a part's labels; quicker but for rounding if summed up by class."""
        if not by_class:
            return self._host_loss.importance(*part.targets())
        # It is linear in the weights: as of one pixel of each class that weighs as much as all of them.
        weight_K = torch.tensor(part.tally().weight[:self._classes])
        return self._host_loss.importance(torch.arange(self._classes).view(1, 1, -1), weight_K.view(1, 1, -1))

    def _forward(self, part: Batch, totals: StepTotals, epoch: int) -> Tensor:
        labels, weight = part.targets()
        # Fabric enters autocast by itself only where it wraps the network in something more than itself.
        with self._fabric.autocast():
            outputs = self._model.outputs(part.image())
        share = self._loss(outputs.logits_NKHW, labels, weight, totals, epoch, outputs.boundary_N1HW)
        if outputs.boundary_N1HW is not None:
            # A head that the loss leaves out for some epochs still takes part: data-parallel training waits for it.
            share = share + outputs.boundary_N1HW.float().sum() * 0
        return share

    def _norm(self) -> list[Tensor]:
        """The norm of all gradients, which are clipped on the way if asked for."""
        clip = self._params.optimizer.clip_norm
        if clip:
            norm = self._fabric.clip_gradients(self._model, self._optimizer, max_norm=clip, error_if_nonfinite=False)
            return [] if self._scaled or norm is None else [norm.float()]
        if self._scaled:
            return []
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        return [torch.nn.utils.get_total_norm(gradients).float()]
