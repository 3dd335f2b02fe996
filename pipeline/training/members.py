"""Train the members of a training, one after the other; a finished one is kept until all are.

Every member has statistics and class weights of its own train pixels, scores on its own val fold, and a resume state of
its own, so a killed training trains no finished member again and takes the running one up where it was. Validation,
calibration and logging are handed in, since training depends on none of them. All processes of a data-parallel training
walk through the members together; the main one writes and logs.
"""

import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric import Fabric

from pipeline.errors import SplitError
from pipeline.networks.members import save_member
from pipeline.networks.segmenter import Segmenter
from pipeline.networks.spec import ModelSpec
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.patches.ground import class_counts, open_ground
from pipeline.paths import staged_folder, write_json
from pipeline.scenes.store import SceneStore
from pipeline.seeding import seed_everything
from pipeline.splits.split import Split
from pipeline.training import engine
from pipeline.training.matching import matched
from pipeline.training.overview import overview
from pipeline.training.plan import Member
from pipeline.training.prepare import prepare
from pipeline.training.ranks import Ranks
from pipeline.training.resume import ResumeStore
from pipeline.training.warm_start import Start
from pipeline.types import RunLog, SilentLog

_SUMMARY = "summary.json"

LogOf = Callable[[Member], AbstractContextManager[RunLog]]


@dataclass(frozen=True)
class Ground:
    """What all members are trained on, each on its own part of it."""

    store: SceneStore
    split: Split
    task: Task


class MemberJudge(Protocol):
    """Scores a member's network on its val part, and finishes it."""

    @property
    def largest_NHW(self) -> tuple[int, int, int] | None:
        """Windows, rows and columns of the largest batch in which val is scored; None where nothing is."""
        ...

    def __call__(self, segmenter: Segmenter) -> Mapping[str, float]:
        """Val scores of the network in its present state; NaN where undefined."""
        ...

    def finish(self, segmenter: Segmenter) -> Mapping[str, Any]:
        """Do what is done to the trained network before it is saved; what is to be reported of that."""
        ...


class Judge(Protocol):
    """Gives every member its own judge."""

    def check(self, split: Split) -> None:
        """Raise where the split's val part cannot be scored as the params ask."""
        ...

    def of(self, split: Split, spec: ModelSpec) -> MemberJudge:
        """The judge of a member with this split and network."""
        ...


def train_members(fabric: Fabric, ranks: Ranks, ground: Ground, params: TrainParams, members: Sequence[Member],
                  kept: ResumeStore, starts: Sequence[Start], judge: Judge, log_of: LogOf) -> dict[str, Any]:
    """Train what is not trained yet; what all members have reached (see pipeline.training.overview).

    Args:
        fabric: where to compute.
        ranks: the processes that train together.
        ground: store, split and task.
        params: of the training.
        members: all of them.
        kept: the training's resume state; finished members lie in its members/.
        starts: the weights each member starts from; empty where weights are drawn.
        judge: validation and calibration, of packages that training does not know.
        log_of: where a member's story goes; asked on the main process only.

    Raises:
        SplitError: a member's train part holds nothing of a class that the split supports.
        ModelError: a val part cannot be scored or calibrated on, a start does not fit the network, or a training fails.
    """
    _warn_of_thin_folds(ground.split, members)
    grounds = kept.folder / "grounds"
    for fold in sorted({member.fold for member in members}):
        ranks.of_first(partial(_check_fold, ground, fold, grounds, judge))
    summaries = []
    for member in members:
        done = kept.folder / "members" / str(member.number)
        state = replace(kept, folder=kept.folder / "states" / str(member.number))
        if ranks.of_first(done.exists):
            _tell(ranks, members, member, "is trained already")
        else:
            _tell(ranks, members, member, "trains")
            start = starts[member.number] if starts else None
            job = _Job(fabric, ranks, ground, params, member, state, start, judge)
            # The run ends before the folder is there: a kill in between opens it once more.
            with ranks.on_first(partial(staged_folder, done)) as folder, \
                    ranks.on_first(partial(_opened, log_of, member, len(members))) as log:
                _train_member(job, grounds, log or SilentLog(), folder)
        summaries.append(ranks.of_first(partial(_closed, done, state)))
    return overview(summaries)


def collect(kept: ResumeStore, found: Mapping[str, Any], checkpoint: Path, report: Path) -> None:
    """Write a checkpoint of the finished members, without what only this module reads, and what they have reached."""
    with staged_folder(checkpoint) as folder, staged_folder(report) as told:
        shutil.copytree(kept.folder / "members", folder / "members", ignore=shutil.ignore_patterns(".*", _SUMMARY))
        write_json(told / "metrics.json", found)


@dataclass(frozen=True)
class _Job:
    """One member's training."""

    fabric: Fabric
    ranks: Ranks
    ground: Ground
    params: TrainParams
    member: Member
    state: ResumeStore
    start: Start | None
    judge: Judge


def _train_member(job: _Job, grounds: Path, log: RunLog, folder: Path | None) -> None:
    """Train a member and write it into `folder`, which only the main process has."""
    member, ground, start = job.member, job.ground, job.start
    seed_everything(member.seed)
    split = ground.split.with_val_fold(member.fold, grounds)  # whose files are there since it was checked
    ready = prepare(ground.store, split, ground.task, job.params, member.seed)
    spec = ready.spec
    if start:
        spec = spec.model_copy(update={"warm_start": start.sha256, "ancestry": start.ancestry})
    judge = job.judge.of(split, spec)
    weights = matched(start, spec, member.seed) if start else None
    trained = engine.train_network(job.fabric, spec, ready.source, ready.class_weights_K, job.params, judge, job.state,
                                   log, weights, judge.largest_NHW)

    def finish() -> None:
        assert folder is not None  # on the main process, which alone comes here
        report = judge.finish(trained.segmenter)
        save_member(folder, trained.segmenter, engine.history_csv(trained.history))
        for file in sorted(folder.iterdir()):
            log.artifact(file, "train")
        write_json(folder / _SUMMARY, {"number": member.number, "seed": member.seed, "val_fold": member.fold,
                                       **engine.summary(trained), "train_pixels": ready.counts,
                                       "sampling": ready.sampling, **report})

    job.ranks.of_first(finish)


@contextmanager
def _opened(log_of: LogOf, member: Member, members: int) -> Iterator[RunLog]:
    """The member's log, which is told of the member if there are several."""
    with log_of(member) as log:
        if members > 1:
            log.params({"member": member.number, "seed": member.seed, "val_fold": member.fold})
        yield log


def _closed(folder: Path, state: ResumeStore) -> dict[str, Any]:
    """The summary of a finished member, whose resume state goes."""
    shutil.rmtree(state.folder, ignore_errors=True)
    summary: dict[str, Any] = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    return summary


def _tell(ranks: Ranks, members: Sequence[Member], member: Member, what: str) -> None:
    if ranks.first and len(members) > 1:
        place = f"member {member.number + 1} of {len(members)}"
        print(f"train: {place} (seed {member.seed}, val fold {member.fold}) {what}", file=sys.stderr, flush=True)


def _warn_of_thin_folds(split: Split, members: Sequence[Member]) -> None:
    """Say before the first epoch which members will be scored on a part that the certificate does not vouch for."""
    others = sorted({m.fold for m in members} - {split.val_fold})
    thin = [f"fold {fold} holds too little of {list(split.too_little[fold])}" for fold in others
            if split.too_little.get(fold)]
    if thin:
        warnings.warn(f"train.folds={split.folds} holds out every fold, by the rules of spatial_split for a val part "
                      f"{', '.join(thin)}: scores of these classes there mean little; set spatial_split.support_in: "
                      "all_folds, or make blocks smaller", stacklevel=3)
    elif others and not split.vouches_for_all:
        warnings.warn(f"train.folds={split.folds} holds out every fold, while the split's certificate vouches for fold "
                      f"{split.val_fold} alone (the same picture in train and val was not looked for in others); set "
                      "spatial_split.support_in: all_folds", stacklevel=3)


def _check_fold(ground: Ground, fold: int, grounds: Path, judge: Judge) -> None:
    """Raise where a member that holds out this fold could not be trained or judged."""
    split = ground.split.with_val_fold(fold, grounds)
    judge.check(split)
    counts_K = class_counts(open_ground(ground.store, split), len(split.classes))
    absent = [name for name, pixels in zip(split.classes, counts_K, strict=True)
              if not pixels and name not in split.unsupported]
    if absent:
        raise SplitError(f"every class must have labelled train pixels in every member: with fold {fold} held out "
                         f"there are none of {absent}; set spatial_split.support_in: all_folds, or train.folds: 1")
