"""A worker: a process that takes one trial after the other until the study has as many as it shall have.

`python -m pipeline.tuning.worker` reads its job, one line of JSON, from standard input and then watches it: where it
ends, so does the worker, in order. So workers never outlive whoever started them, however that ended, and no password
is in the arguments that other users of the machine can see.
"""

import importlib
import json
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from pipeline.digests import CODE_ROOT, file_sha256
from pipeline.errors import KumulusError, ModelError
from pipeline.params.load import Params
from pipeline.params.train import TrainParams
from pipeline.paths import Paths
from pipeline.tuning import retry, stamp
from pipeline.tuning.space import TuneFile, suggest
from pipeline.tuning.storage import Place, StorageError, held
from pipeline.tuning.study import DEFAULT, KEY, load, pruner, sampler
from pipeline.types import SilentLog

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from pipeline.tuning.objective import Objective, TrialResult

#: Exit status of a worker that cannot work and says why in its last line: another would say the same.
CANNOT = 3

#: What makes the objective, unless a test has a shorter one.
FACTORY = "pipeline.tuning.objective:make_objective"

#: Attributes of a finished trial and of the study: score by inner fold, epochs trained, CPU threads, inner folds.
FOLD_SCORES, EPOCHS, THREADS, SETTING = "fold_scores", "epochs", "threads", "setting"


class Stopped(KeyboardInterrupt):
    """The worker is to end: with a message, as no trial can be made any more; without, whoever started it wants it."""


@dataclass(frozen=True)
class Job:
    """What a worker is to do; `total` is how many trials the study shall have in all."""

    worker: str
    study: str
    total: int
    root: str
    params: Mapping[str, Any]
    tune: Mapping[str, Any]
    folder: str
    url: str = field(default="", repr=False)
    heartbeat_s: int = 0
    grace_s: int = 0
    #: {file: sha256} of the code that decides a score, and {scenes, splits: digest}, both when the study was opened.
    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    factory: str = FACTORY

    def dump(self) -> str:
        """One line."""
        return json.dumps(asdict(self)) + "\n"

    @property
    def place(self) -> Place:
        """Where the study is kept."""
        return Place(Path(self.folder), self.url, self.heartbeat_s, self.grace_s)


class _Told(SilentLog):
    """What the objective says of itself when it is made."""

    def __init__(self) -> None:
        self.setting: dict[str, Any] = {}

    def params(self, values: Mapping[str, Any]) -> None:
        self.setting |= values


class Worker:
    """Takes trials of one study."""

    def __init__(self, job: Job) -> None:
        """Open the study and make the objective.

        Raises:
            KumulusError: no trial could be made.
        """
        self.job, self.place = job, job.place
        self.paths, self.tune = Paths(Path(job.root)), TuneFile.model_validate(job.tune)
        params = Params(dict(job.params))
        configured = params.section(TrainParams).epochs
        self.study = self.place.patiently(lambda: load(self.place, job.study, self.tune, pruner(params, self.tune)))
        self._stamp = stamp.stamp(self.paths)  # first: what is written while digests are made counts as well
        stamp.require(self.paths, job.data)
        if edited := [name for name, digest in job.code.items() if file_sha256(CODE_ROOT / name) != digest]:
            raise ModelError(f"code must stay as it is while a study runs: {edited[0]} has changed since; run `kumulus "
                             "tune` again, which begins a new study")
        module, _, name = job.factory.partition(":")
        told = _Told()
        make: Callable[..., Objective] = getattr(importlib.import_module(module), name)
        self.objective = make(params, self.paths, self.tune, told)
        self._folds, self._epochs = len(told.setting.get("inner_folds", (0,))), self.tune.epochs or configured
        self._stride = self.tune.most_epochs(configured)
        if told.setting and SETTING not in self.study.user_attrs:
            self.study.set_user_attr(SETTING, told.setting)

    def last_step(self, changes: Mapping[str, Any]) -> int:
        """The last step of a trial that is trained to its end."""
        return (self._folds - 1) * self._stride + int(changes.get("train.epochs", self._epochs))

    def require_unmoved(self) -> None:
        """See that the data is still what the study stands on.

        Raises:
            Stopped: a file was written, came or went.
        """
        if name := stamp.moved(self._stamp, stamp.stamp(self.paths)):
            raise Stopped(f"data must stay as it is while a study runs: {name} has been written since this worker "
                          "began, so no score counts; put it back (`dvc checkout`) and run `kumulus tune` again")

    def run(self) -> None:
        """Take trials until there are enough."""
        with held(self.place.lock_of(self.job.worker)):
            while self._one():
                pass

    def _one(self) -> bool:
        """Take and make one trial; False where there is none to begin."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        trials, claim = self.place.patiently(self._claimed)
        with claim:
            if not retry.to_begin(trials, self.job.total):
                return False
            # What takes the place of another is not counted: a study that lost workers goes on with the same draws.
            drawn = sum(retry.RETRY_OF not in trial.user_attrs and retry.has_values(trial) for trial in trials)
            queued = any(trial.state is TrialState.WAITING for trial in trials)
            self.study.sampler = sampler(self.tune, drawn, f"queued {len(trials)}" if queued else "")
            attempt = _Attempt(self, claim)
            try:
                with self.place.answering():
                    self.study.optimize(attempt, n_trials=1, catch=(Exception,))
            except (UpdateFinishedTrialError, ValueError):
                number = attempt.number
                if number is None or self.study.get_trials(deepcopy=False)[number].state is not TrialState.FAIL:
                    raise
                print(f"trial {number} was given to another worker, as this one had fallen silent", flush=True)
        return True

    def _claimed(self) -> tuple[list["FrozenTrial"], ExitStack]:
        """The study's trials, those of dead workers taken up, and the claim that is held."""
        with ExitStack() as claim:
            claim.enter_context(self.place.claim(self.job.study))
            retry.reclaim(self.study, self.place)
            return self.study.get_trials(deepcopy=False), claim.pop_all()


class _Attempt:
    """The function of one trial, as optuna calls it."""

    def __init__(self, worker: Worker, claim: ExitStack) -> None:
        self.worker = worker
        self.claim = claim
        self.number: int | None = None

    def __call__(self, trial: "Trial") -> float:
        """Sign the trial, draw its values, let go of the claim, and score them."""
        import optuna

        self.number = trial.number
        with _Reasoned(trial):
            result, pruned = self._score(trial)
        if pruned:
            raise optuna.TrialPruned
        return result.score

    def _score(self, trial: "Trial") -> tuple["TrialResult", bool]:
        """The trial's result, and whether it was pruned."""
        from pipeline.tracking.runs import trial_run

        worker = self.worker
        # A trial without a heartbeat is never given up, and optuna's first comes whenever its thread gets to it.
        worker.place.beat(worker.study, trial)
        trial.set_user_attr(retry.OWNER, retry.owner(worker.job.worker, os.getpid()))
        default = trial.user_attrs.get(DEFAULT, False)
        changes = suggest(trial, worker.tune.space, default)
        last = worker.last_step(changes)
        threads = os.environ.get("OMP_NUM_THREADS", "")
        trial.set_user_attr(THREADS, threads)
        self.claim.close()
        tags = {"kumulus.study": worker.job.study, "kumulus.threads": threads}
        if (before := trial.user_attrs.get(retry.RETRY_OF)) is not None:
            tags["kumulus.retry_of"] = str(before)
        with trial_run(worker.paths, worker.study.user_attrs[KEY], trial.number, tags) as log:
            log.params(changes)
            stop, patiently = False, worker.place.patiently

            def report(step: int, score: float) -> bool:
                nonlocal stop
                worker.require_unmoved()
                patiently(lambda: trial.report(score, step))
                worker.place.beat(worker.study, trial)
                log.metrics({"score": score}, step)
                # What all are compared with is not cut short; at the last step there is nothing left to cut.
                stop = stop or (not default and step < last and patiently(trial.should_prune))
                return stop

            try:
                result = worker.objective(changes, report)
            finally:
                worker.require_unmoved()
            if not math.isfinite(result.score):
                raise ModelError(f"a trial's score must be a finite number: got {result.score}; look at the loss")
            pruned = result.pruned or stop
            log.metrics({f"score_of_fold_{fold}": score for fold, score in result.fold_scores.items()})
            log.metrics({"final_score": result.score} if not pruned else {"score_when_pruned": result.score})
            log.tags({"kumulus.trial_state": "pruned" if pruned else "done"})
        scores = {str(fold): score for fold, score in result.fold_scores.items()}
        patiently(lambda: trial.set_user_attr(FOLD_SCORES, scores))
        patiently(lambda: trial.set_user_attr(EPOCHS, result.epochs))
        return result, pruned


class _Reasoned:
    """Notes at a trial why its block ends without a score. What is the database's fault is no fault of the trial's."""

    def __init__(self, trial: "Trial") -> None:
        self._trial = trial

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, Stopped):
            self._trial.set_user_attr(retry.INTERRUPTED, True)
        elif isinstance(error, Exception) and not isinstance(error, SQLAlchemyError | StorageInternalError
                                                             | StorageError):
            if not isinstance(error, KumulusError):
                traceback.print_exception(error)  # a defect: the worker's log keeps where
            self._trial.set_user_attr(retry.ERROR, _reason(error))


def _reason(error: Exception) -> str:
    """An error in one line; of a defect also where more of it is."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, KumulusError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}; its worker's log beside the locks of the studies has where"


def _watch() -> None:
    """End this process in order where standard input ends."""
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=wait, name="watch", daemon=True).start()


def main() -> None:
    """Entry point of the worker process; ends with 0 where there is nothing more to do, or it was asked to end."""
    job = Job(**json.loads(sys.stdin.buffer.readline()))
    _watch()
    try:
        Worker(job).run()
    except Stopped as stop:
        if not stop.args:
            return
        print(f"tune: {stop}", file=sys.stderr)
        raise SystemExit(CANNOT) from stop
    except StorageError as error:  # another may find the database back
        print(f"tune: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KumulusError as error:
        print(f"tune: {job.place.redacted(str(error))}", file=sys.stderr)
        raise SystemExit(CANNOT) from error


if __name__ == "__main__":
    main()
