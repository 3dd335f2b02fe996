"""Tracked runs for stage scripts: a training, and the child runs of what is done with its result.

    with train_run(paths, key, identity(paths, params, "train")) as log:
        log.params(params.dump("train", "seed"))
        with member_run(paths, key, member) as log_of_member:
            ...
    with child_run(paths, "evaluate", identity(paths, params, "evaluate")) as log:
        ...
    with study_run(paths, key, name) as log, trial_run(paths, key, 0) as log_of_trial:
        ...

Everything goes to a journal first and from there to MLflow while the stage works, so a stage neither waits
for MLflow nor fails with it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Protocol

from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking.delivery import MEMBER, TRIAL
from pipeline.tracking.environment import run_record
from pipeline.tracking.journal import Journal
from pipeline.tracking.sampling import sampled
from pipeline.tracking.sender import finish, start
from pipeline.types import RunLog


class Numbered(Protocol):
    """One of the members of a training."""

    @property
    def number(self) -> int:
        """Its place among them."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """What its run is found by."""
        ...


@contextlib.contextmanager
def train_run(paths: Paths, key: str, tags: Mapping[str, str] | None = None) -> Iterator[RunLog]:
    """The run of a training, found later by its key; with system metrics. A killed one is taken up again.

    Args:
        paths: where the journal goes.
        key: the training's own key, which models/run.json holds too.
        tags: identity and whatever else is known at the start.
    """
    with _sent(paths, key, "train", tags or {}) as journal, sampled(journal):
        yield journal


@contextlib.contextmanager
def member_run(paths: Paths, key: str, member: Numbered) -> Iterator[RunLog]:
    """The run of one of several members, nested below the run of the training, within whose block it is used.

    The training's sender delivers it too, while the next member trains; nobody waits for it here.
    """
    tags = {**member.tags, MEMBER: str(member.number)}
    with _Ended(_journal(paths, key, "member", f"member-{member.number}", tags)) as journal:
        yield journal


@contextlib.contextmanager
def child_run(paths: Paths, stage: str, tags: Mapping[str, str] | None = None) -> Iterator[RunLog]:
    """The run of a stage that works on a training's result, nested below that training's run.

    Where the training's run is not on the MLflow in use, the run stands alone and the tag kumulus.parent
    says so.

    Raises:
        IntegrityError: models/run.json is missing or holds no key.
    """
    with _sent(paths, run_key(paths), stage, tags or {}) as journal:
        yield journal


@contextlib.contextmanager
def study_run(paths: Paths, key: str, name: str, tags: Mapping[str, str] | None = None) -> Iterator[RunLog]:
    """The run of a study, found later by its key and taken up again when the study goes on.

    Args:
        paths: where the journal goes.
        key: the study's own key.
        name: the study's, which the run is shown under.
        tags: what the study is about.
    """
    with _sent(paths, key, "tune", tags or {}, name) as journal:
        yield journal


@contextlib.contextmanager
def trial_run(paths: Paths, key: str, number: int, tags: Mapping[str, str] | None = None) -> Iterator[RunLog]:
    """The run of a trial, nested below its study's; written where the trial is made, sent by the study's sender.

    A worker that is killed leaves a run that ends as KILLED; what takes its place is a run of its own.
    """
    with _Ended(_journal(paths, key, "trial", f"trial-{number}", {**(tags or {}), TRIAL: str(number)})) as journal:
        yield journal


def run_key(paths: Paths) -> str:
    """The key of the training whose result lies in models/.

    Raises:
        IntegrityError: models/run.json is missing or holds no key.
    """
    if not (run := run_record(paths.run_file)):
        raise IntegrityError(f"{paths.run_file} must hold the key of the training: it is not there; run `dvc repro` or "
                             "`dvc pull`")
    return str(run["key"])


def _journal(paths: Paths, key: str, stage: str, label: str, tags: Mapping[str, str], name: str = "") -> Journal:
    experiment = os.environ.get("DVC_EXP_NAME", "")
    baseline = os.environ.get("DVC_EXP_BASELINE_REV", "")
    dvc = {"kumulus.dvc_experiment": experiment, "kumulus.dvc_baseline": baseline,
           "kumulus.ablation": os.environ.get("KUMULUS_ABLATION", "")}
    return Journal.create(paths.journal, key, stage, name or f"{experiment or key[:8]}-{label}",
                          {**tags, **{tag: value for tag, value in dvc.items() if value}})


class _Ended:
    """Closes a journal with how the block ended."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __enter__(self) -> Journal:
        return self._journal

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._journal.tags({"kumulus.error": f"{type(error).__name__}: {error}"[:1000]})
        killed = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._journal.close("FINISHED" if kind is None else "KILLED" if killed else "FAILED")


@contextlib.contextmanager
def _sent(paths: Paths, key: str, stage: str, tags: Mapping[str, str], name: str = "") -> Iterator[Journal]:
    """A journal and its sender, from begin to end."""
    journal = _journal(paths, key, stage, stage, tags, name)
    sender = start(journal.folder, paths)
    try:
        with _Ended(journal):
            yield journal
    finally:
        if line := finish(sender, journal.folder, paths, key):
            print(line, file=sys.stderr)
