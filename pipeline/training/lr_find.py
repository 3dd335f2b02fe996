"""Learning-rate range test: one short training in which the rate grows from step to step, and what it suggests.

Smith 2017, Cyclical learning rates for training neural networks, section 3.3; losses are smoothed and the test broken
off as in Gugger's description of fastai's finder (2018).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from pipeline.errors import ModelError
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.patches.loader import EpochBatches
from pipeline.patches.source import PatchSource
from pipeline.training.optimizer import Freezing, build_optimizer, set_rates
from pipeline.training.ranks import Ranks
from pipeline.training.start import begin, place
from pipeline.training.step import Stepper
from pipeline.types import AnyArray

#: Memory of the moving average of losses, and the multiple of its least value at which the test is over.
_SMOOTHING, _DIVERGED = 0.8, 4.0

#: Steps whose smoothed loss still leans on a handful of values and suggests nothing; steps to either side over which
#: a slope is taken.
_SETTLING, _SPAN = 5, 3


@dataclass(frozen=True)
class RateSweep:
    """A finished test; all sequences have one value a step."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def csv(self) -> str:
        """One row a step."""
        rows = zip(self.rates, self.losses, self.smoothed, strict=True)
        return "rate,loss,smoothed\n" + "".join(f"{rate:.7g},{loss:.7g},{mean:.7g}\n" for rate, loss, mean in rows)

    @property
    def lowest(self) -> float:
        """The rate at the least smoothed loss: the upper end of what can be trained with."""
        return self.rates[min(range(len(self.smoothed)), key=self.smoothed.__getitem__)]

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest over the logarithm of the rate; None if nowhere."""
        slopes = {i: self._fall(i - _SPAN, i + _SPAN) for i in range(_SETTLING, len(self.rates) - _SPAN)}
        steepest = min(slopes, key=slopes.__getitem__, default=-1)
        return None if steepest < 0 or slopes[steepest] >= 0 else self.rates[steepest]

    @property
    def suggestion(self) -> float:
        """The steepest rate.

        Raises:
            ModelError: the loss falls nowhere.
        """
        if (found := self.steepest) is None:
            raise ModelError(f"the loss must fall at some rate between {self.rates[0]:.2g} and {self.rates[-1]:.2g}: "
                             f"it rose throughout in {len(self.rates)} steps; start at a lower rate (--low)")
        return found

    def _fall(self, first: int, last: int) -> float:
        return (self.smoothed[last] - self.smoothed[first]) / math.log(self.rates[last] / self.rates[first])


def find_rate(fabric: Fabric, spec: ModelSpec, source: PatchSource, class_weights_K: AnyArray, params: TrainParams,
              low: float, high: float, steps: int, start: Mapping[str, torch.Tensor] | None = None) -> RateSweep:
    """Train with the configured data, loss, optimizer and batch while the rate grows exponentially from low to high.

    Ends when the smoothed loss is four times its least value or no loss is finite. The schedule has no say; what is
    frozen in the first epoch is frozen here. The global generators must have been seeded; nothing is written.

    Raises:
        ModelError: `low` is not below `high`, there are too few steps, the first losses are not finite, or a step does
            not fit the device.
    """
    if not 0 < low < high:
        raise ModelError(f"the range of learning rates must be positive and growing: got {low:g} to {high:g}")
    if steps < 4 * _SETTLING:
        raise ModelError(f"a learning-rate test must have at least {4 * _SETTLING} steps: got {steps}")
    segmenter = place(begin(spec, params, start), params, fabric)
    ranks, freezing = Ranks(fabric), Freezing(segmenter, params.optimizer, params.epochs)
    model, optimizer = fabric.setup(segmenter, build_optimizer(segmenter, params.optimizer))
    model.mark_forward_method("outputs")
    stepper = Stepper(fabric, ranks, model, optimizer, params, class_weights_K, spec.classes)
    batches = EpochBatches(source, steps * params.batch_size, params.batch_size, params.accumulation,
                           fabric.global_rank, fabric.world_size, params.workers,
                           pin_memory=fabric.device.type == "cuda")
    model.train()
    freezing.begin(0)
    rates: list[float] = []
    losses: list[float] = []
    for i, parts in enumerate(tqdm(batches.epoch(0), total=steps, desc="learning rates", unit="step", disable=None)):
        rate = low * (high / low) ** (i / (steps - 1))
        set_rates(optimizer, rate, params.optimizer.momentum)
        launched = stepper.launch(parts, 0, i)
        loss = ranks.sums([sum(launched.values()[:len(parts)])])[0]
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        smoothed = smooth(losses)
        if i >= _SETTLING and smoothed[-1] > _DIVERGED * min(smoothed):
            break
    if len(rates) <= _SETTLING + _SPAN:
        raise ModelError(f"a learning-rate test must begin with finite losses: got {len(rates)} from {low:g} on; "
                         "start at a lower rate (--low)")
    return RateSweep(tuple(rates), tuple(losses), tuple(smooth(losses)))


def smooth(losses: Sequence[float]) -> list[float]:
    """Exponential moving average without the pull of its start: sum b^(i-j) loss_j / sum b^(i-j)."""
    total, weight, smoothed = 0.0, 0.0, []
    for loss in losses:
        total, weight = _SMOOTHING * total + loss, _SMOOTHING * weight + 1
        smoothed.append(total / weight)
    return smoothed
