"""One inner fold of a trial: a training as the train stage's, watched epoch by epoch, of which only counts are kept."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ModelError
from pipeline.inference.validation import ValScorer
from pipeline.metrics.confusion import Confusion
from pipeline.networks.segmenter import Segmenter
from pipeline.params.load import Params
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.scenes.store import SceneStore
from pipeline.seeding import seed_everything
from pipeline.training import engine
from pipeline.training.matching import matched
from pipeline.training.plan import Member
from pipeline.training.prepare import prepare
from pipeline.training.resume import ResumeStore
from pipeline.training.warm_start import Start
from pipeline.tuning.inner import InnerSplit
from pipeline.types import SilentLog

#: How torch and its allocators say that memory is used up, beside errors of a class of their own.
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")

#: Told of an epoch, from 1, and the counts on the inner val fold after it; True when training shall stop.
Told = Callable[[int, Confusion], bool]


@dataclass(frozen=True)
class InnerMember:
    """What is trained and scored on one inner fold, whatever the trial."""

    member: Member
    split: InnerSplit
    start: Start | None


@dataclass(frozen=True)
class FoldResult:
    """What has come of an inner fold: the counts with the weights that the training chose; None if it was stopped."""

    chosen: Confusion | None
    epochs: int


def train_fold(params: Params, store: SceneStore, inner: InnerMember, told: Told) -> FoldResult:
    """Train on an inner fold's train ground and score on its val ground, from nothing that was before.

    Raises:
        ModelError: the loss is not finite, memory does not suffice, or the network cannot be trained.
        SplitError: what the sampling asks for has no train pixels.
    """
    train, member, split = params.section(TrainParams), inner.member, inner.split
    fabric = engine.open_fabric(train)
    with _memory_explained():
        seed_everything(member.seed)
        ready = prepare(store, split, params.section(Task), train, member.seed)
        spec = ready.spec
        scorer = ValScorer(store, split, spec.recipe, train.patches.size_px // 4, spec.size_multiple)
        start = matched(inner.start, spec, member.seed) if inner.start else None
        watch = _Watch(scorer, train, told)
        try:
            trained = engine.train_network(fabric, spec, ready.source, ready.class_weights_K, train, watch, _FORGETFUL,
                                           SilentLog(), start, scorer.largest_NHW)
        except _StoppedError:
            return FoldResult(None, watch.epoch)
    return FoldResult(watch.counts[trained.best_epoch], len(trained.history))


class _Forgetful(ResumeStore):
    """A resume state that keeps nothing: a killed trial is made anew."""

    def load(self) -> None:
        """There is never a state."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep nothing."""


class _StoppedError(Exception):
    """Leads out of the training loop when a trial shall stop."""


@dataclass
class _Watch:
    """Scores the network after each scored epoch, keeps the counts, and asks whether to go on."""

    scorer: ValScorer
    params: TrainParams
    told: Told
    epoch: int = 0
    counts: dict[int, Confusion] = field(default_factory=dict)

    def __call__(self, segmenter: Segmenter) -> Mapping[str, float]:
        """Val scores by name, as the engine wants them."""
        self.epoch = next(e for e in range(self.epoch + 1, self.params.epochs + 1) if self.params.scores_epoch(e))
        counts = self.counts[self.epoch] = self.scorer.confusion(segmenter)
        if self.told(self.epoch, counts):
            raise _StoppedError
        return self.scorer.scores(counts)


_FORGETFUL = _Forgetful(Path(), "")


@contextmanager
def _memory_explained() -> Iterator[None]:
    """Turn what is raised where memory is used up into a ModelError, and give back what a GPU's allocator holds."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not any(said in text.lower() for said in _OUT_OF_MEMORY):
            raise
        raise ModelError(f"a trial must fit the memory: {text[:200] or 'it is used up'}; narrow train.batch_size or "
                         "train.patches.size_px in the space, or set train.accumulation") from error
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
