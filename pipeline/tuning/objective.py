"""What a trial is worth: its score on inner folds, trained here and now with the settings it changes.

A trial's training is that of the train stage, by the same functions, but for the ground (see pipeline.tuning.inner) and
for what it leaves out: there is nothing to resume, calibrate or write. Its score follows from settings, data, code and
machine, and from nothing that other trials did.

Steps count epochs on over the inner folds: epoch e of the i-th fold (from 0) is step i * epochs + e, whether or not
training ended early on the folds before; `epochs` are those of the longest trial where the space has train.epochs, so
that a step means the same fold in every trial. The score of a step is of the counts of all folds finished by then, with
the weights that their trainings chose, and of the running one in its present state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from pipeline.digests import canonical_sha256, folder_sha256
from pipeline.errors import ModelError
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import iou, macro_iou, mcc
from pipeline.params.load import Params
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.tracking import weights
from pipeline.training.plan import Member
from pipeline.training.resume import ResumeStore
from pipeline.training.warm_start import Start, open_starts
from pipeline.tuning.corners import check_space, quiet_params
from pipeline.tuning.inner import check_inner, inner_folds, inner_split
from pipeline.tuning.space import TuneFile
from pipeline.tuning.trial import InnerMember, train_fold
from pipeline.types import RunLog

#: Told of a step and the score reached; True when the trial shall stop.
Report = Callable[[int, float], bool]


@dataclass(frozen=True)
class TrialResult:
    """What a trial has come to."""

    #: The metric from the confusion merged over inner folds, with the weights that each training chose.
    score: float
    #: The metric on each inner fold by itself.
    fold_scores: Mapping[int, float]
    #: Epochs trained, over all inner folds.
    epochs: int
    #: Whether `report` asked to stop; the score is then the last one reported, and `fold_scores` are of folds finished.
    pruned: bool = False


#: Called with the changed dotted keys. A KumulusError means that this trial failed, for the reason it gives, while
#: others may not; anything else is a defect.
Objective = Callable[[Mapping[str, Any], Report], TrialResult]


def make_objective(params: Params, paths: Paths, tune: TuneFile, log: RunLog) -> Objective:
    """Check everything that does not depend on a trial, and give the objective.

    Args:
        params: params.yaml.
        paths: where the scene store and the split lie.
        tune: the search.
        log: told of the split and its inner folds.

    Raises:
        ParamsError: a corner of the space breaks the schema, or the metric's class is not the task's.
        ModelError: params.yaml asks for several devices, or the weights to start from cannot be used.
        SplitError: there is no split, or its folds cannot be inner ones.
    """
    check_space(params, tune)
    task, train = params.section(Task), params.section(TrainParams)
    if train.devices > 1:
        raise ModelError(f"a trial must be trained on one device: got train.devices={train.devices}; set it to 1 while "
                         "you search, and start a worker for each device")
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    folds, seed = inner_folds(split, tune), next(iter(train.seeds), params.seed)
    members = [Member(number, seed, fold) for number, fold in enumerate(folds)]
    splits = [inner_split(split, fold, paths) for fold in folds]
    for inner in splits:
        check_inner(store, inner, task, tune.metric_class)
    starts = _starts(quiet_params(params, tune, {}).section(TrainParams), members, paths)
    log.params({"inner_folds": list(folds), "sealed_fold": split.val_fold})
    log.dataset("splits", folder_sha256(paths.splits), "data/splits", "tuning")
    return _Objective(params, tune, store, tuple(map(InnerMember, members, splits, starts)))


def score_of(confusion: Confusion, metric: str, classes: tuple[str, ...]) -> float:
    """The metric of some counts; 0, no skill, where it is undefined, as mcc is while only one class is predicted."""
    match metric.partition("."):
        case ("mcc", _, _):
            value = mcc(confusion)
        case ("macro_iou", _, _):
            value = macro_iou(confusion)
        case (_, _, name):
            value = float(iou(confusion)[classes.index(name)])
    return value if value == value else 0.0


@dataclass(frozen=True)
class _Objective:
    params: Params
    tune: TuneFile
    store: SceneStore
    members: tuple[InnerMember, ...]

    def __call__(self, changes: Mapping[str, Any], report: Report) -> TrialResult:
        """Train and score on one inner fold after the other.

        Raises:
            ParamsError: the changes break the schema.
            ModelError: the loss is not finite, memory does not suffice, or the network cannot be trained.
            SplitError: what the sampling asks for has no train pixels.
        """
        params = quiet_params(self.params, self.tune, changes)
        scores: dict[int, float] = {}
        total, epochs, last = Confusion.empty(len(self.members[0].split.classes)), 0, 0.0
        for inner in self.members:
            first = inner.member.number * self.tune.most_epochs(params.section(TrainParams).epochs)

            def told(epoch: int, counts: Confusion, first: int = first, before: Confusion = total) -> bool:
                nonlocal last
                last = self._score(before.merge(counts))
                return report(first + epoch, last)

            found = train_fold(params, self.store, inner, told)
            epochs += found.epochs
            if found.chosen is None:
                return TrialResult(last, scores, epochs, pruned=True)
            total, scores[inner.member.fold] = total.merge(found.chosen), self._score(found.chosen)
        return TrialResult(self._score(total), scores, epochs)

    def _score(self, counts: Confusion) -> float:
        return score_of(counts, self.tune.metric, self.members[0].split.classes)


def _starts(train: TrainParams, members: list[Member], paths: Paths) -> list[Start | None]:
    """What each member starts from; None where weights are drawn. What MLflow has is fetched once for all workers.

    Raises:
        ModelError: they cannot be had, are not what was pinned, or have learnt from the split that is searched on.
    """
    params = train.warm_start
    if not params.uri:
        return [None] * len(members)
    folder = paths.repository / ".kumulus/tune/start" / canonical_sha256(params.model_dump())[:32]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        starts = open_starts(train, members, paths, ResumeStore(folder, ""), weights.fetch)
    split = folder_sha256(paths.splits)
    if any(ancestor.split == split for start in starts for ancestor in start.ancestry):
        raise ModelError(f"train.warm_start must not have learnt from the split that is searched on: {params.uri} has, "
                         "from an inner val fold or from the split's own, which stays sealed; start from weights of "
                         "other data, or search without a start")
    return list(starts)
