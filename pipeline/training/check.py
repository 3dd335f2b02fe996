"""The overfit-one-batch check: a network that cannot learn eight patches by heart will not learn a scene."""

from dataclasses import dataclass

import torch
from tqdm import tqdm

from pipeline.losses.total import StepTotals, TotalLoss
from pipeline.networks.spec import ModelSpec
from pipeline.params.train import TrainParams
from pipeline.patches.batch import collate
from pipeline.patches.source import PatchSource
from pipeline.training.optimizer import build_optimizer, set_rates
from pipeline.training.start import begin
from pipeline.types import IGNORE_INDEX, AnyArray

#: Share of the first loss that the last must fall below, and pixel accuracy it must reach, on the one batch.
LOSS_SHARE, ACCURACY = 0.2, 0.95


@dataclass(frozen=True)
class CheckResult:
    """Loss at the first and the last step, and the pixel accuracy on the batch in the end."""

    first_loss: float
    last_loss: float
    accuracy: float

    @property
    def passed(self) -> bool:
        """Whether the network learnt the batch by heart."""
        return self.last_loss < LOSS_SHARE * self.first_loss and self.accuracy >= ACCURACY


def overfit_one_batch(spec: ModelSpec, source: PatchSource, class_weights_K: AnyArray, params: TrainParams,
                      steps: int = 150) -> CheckResult:
    """Train on the first batch of the first epoch only, on the CPU, with the configured loss and optimizer.

    The rate is constant and nothing is frozen.
    """
    torch.set_num_threads(params.threads)
    batch = collate([source.draw(0, i) for i in range(params.batch_size)])
    params = params.model_copy(update={"optimizer": params.optimizer.model_copy(update={"frozen_epochs": 0})})
    segmenter = begin(spec, params, None).train()
    optimizer = build_optimizer(segmenter, params.optimizer)
    set_rates(optimizer, params.optimizer.lr, params.optimizer.momentum)
    loss = TotalLoss(params.loss, torch.as_tensor(class_weights_K, dtype=torch.float32), classes=spec.classes)
    image, (labels, weight) = batch.image(), batch.targets()
    totals = StepTotals(loss.importance(labels, weight), params.batch_size)
    losses = []
    for _ in tqdm(range(steps), desc="overfit one batch", unit="step", disable=None):
        optimizer.zero_grad()
        logits, boundary = segmenter.outputs(image)
        value = loss(logits, labels, weight, totals, boundary_N1HW=boundary)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    labelled = labels != IGNORE_INDEX
    right = (logits.argmax(dim=1) == labels)[labelled].float().mean()
    return CheckResult(losses[0], losses[-1], float(right))
