"""Saves the state of a running training now and then, and puts everything back where a killed one left it."""

import time
from collections.abc import Sequence
from typing import Any

from lightning_fabric import Fabric
from torch.optim import Optimizer

from pipeline.networks.segmenter import Segmenter
from pipeline.seeding import global_state, restore_global_state
from pipeline.training.averages import Averages
from pipeline.training.precision import renew_scaler
from pipeline.training.progress import Progress
from pipeline.training.ranks import Ranks
from pipeline.training.resume import ResumeStore

#: The share of the time that saving may take.
_SHARE = 0.01


class Keeper:
    """Knows all that a training consists of: weights, optimizer, scaler, average, every rank's generators, progress."""

    def __init__(self, fabric: Fabric, ranks: Ranks, store: ResumeStore, segmenter: Segmenter, optimizer: Optimizer,
                 averages: Averages | None, every_s: float) -> None:
        self._fabric, self._ranks, self._store = fabric, ranks, store
        self._segmenter, self._optimizer, self._averages = segmenter, optimizer, averages
        self._every_s = every_s
        self._saved_at, self._cost_s = time.monotonic(), 0.0
        #: Where the training would go on if it ended now, in words.
        self.kept = "the start"

    def restore(self, classes: int) -> Progress:
        """The saved progress, with everything else put back; the start of a training if nothing was saved."""
        renew_scaler(self._fabric)
        state = self._store.load()
        if state is None:
            return Progress(drawn_K=[0] * classes)
        self._segmenter.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._fabric.strategy.precision.load_state_dict(state["precision"])
        if self._averages is not None:
            self._averages.restore(state["averages"])
        restore_global_state(state["generators"][self._ranks.rank], self._fabric.device)
        progress = Progress(**state["progress"])
        if not self._ranks.first:  # the main process goes on with everybody's count
            progress.drawn_K = [0] * classes
        self.kept = progress.place
        return progress

    def due(self, within_epoch: bool = True) -> bool:
        """Whether it is time to save, by this process's clock.

        Within an epoch every `every_s` seconds, and at its end in any case, but at most for a hundredth of the time;
        with `every_s` 0 always. What is saved when changes no result.
        """
        since = time.monotonic() - self._saved_at
        return self._every_s == 0 or since >= max(self._every_s if within_epoch else 0.0, self._cost_s / _SHARE)

    def save(self, progress: Progress, drawn_K: Sequence[int]) -> None:
        """Save the state; called on all ranks, written by the main process.

        Args:
            progress: of this rank.
            drawn_K: pixels that all ranks have drawn in the running epoch.
        """
        generators = self._ranks.gathered(global_state(self._fabric.device))
        self._ranks.of_first(lambda: self._write(progress, drawn_K, generators))
        self.kept = progress.place

    def _write(self, progress: Progress, drawn_K: Sequence[int], generators: list[dict[str, Any]]) -> None:
        start = time.monotonic()
        self._store.save({
            "progress": progress.state(drawn_K), "weights": self._segmenter.state_dict(),
            "optimizer": self._optimizer.state_dict(), "precision": self._fabric.strategy.precision.state_dict(),
            "averages": self._averages.state() if self._averages else None, "generators": generators})
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - start
