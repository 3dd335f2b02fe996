"""Keeps workers at a study until it has its trials: starts them, replaces those that die, and says how far it is.

Workers are processes of their own, each with its share of the processor's threads (and one of several GPUs). A killed
one's trial is taken up by `retry.reclaim`; so are those of workers that Ctrl-C has ended.
"""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pipeline.cores import available_cores
from pipeline.digests import CODE_ROOT
from pipeline.errors import ModelError
from pipeline.tracking.sampling import gpu_handles
from pipeline.tuning import retry
from pipeline.tuning.retry import Fate
from pipeline.tuning.storage import StorageError, sweep
from pipeline.tuning.worker import CANNOT, Job

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

#: Seconds between two looks at the study, and that workers are given to end in order.
POLL_S, _GRACE_S = 1.0, 30.0

#: Looks at the study between two questions whether workers of others live.
_STRANGERS = 10

#: So many failed trials, and none that did not, are a fault of all.
_ALL_FAILED = 3

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """How far a study is; `best` and its trial's number are None before the first score, `left_s` before a duration."""

    total: int
    done: int
    pruned: int
    failed: int
    running: int
    best: float | None
    best_trial: int | None
    left_s: float | None

    @property
    def over(self) -> int:
        """How many trials are over."""
        return self.done + self.pruned + self.failed


def progress(trials: Sequence["FrozenTrial"], total: int, workers: int) -> Progress:
    """Count trials; the time left is that of the others, if they take as long as those that were scored did."""
    found = retry.fates(trials)
    count = {fate: sum(f is fate for f in found.values()) for fate in Fate}
    done = [trial for trial in trials if found[trial.number] is Fate.DONE]
    best = max(done, key=lambda trial: (trial.value, -trial.number), default=None)
    took = [(trial.datetime_complete - trial.datetime_start).total_seconds() for trial in trials
            if found[trial.number] in (Fate.DONE, Fate.PRUNED) and trial.datetime_complete and trial.datetime_start]
    over = sum(count[fate] for fate in retry.OVER)
    at_once = max(1, workers, count[Fate.RUNNING])
    left = max(0, total - over) * sum(took) / len(took) / at_once if took else None
    return Progress(total, count[Fate.DONE], count[Fate.PRUNED], count[Fate.FAILED], count[Fate.RUNNING],
                    None if best is None else best.value, None if best is None else best.number, left)


def threads_of(workers: int, configured: int) -> int:
    """CPU threads of one of several workers: its share of the processors, at most what is configured for a training."""
    return max(1, min(configured, available_cores() // workers))


class Crew:
    """The workers of one process. A context: at its end all have ended, and their trials are queued again."""

    def __init__(self, job: Job, study: "Study", count: int, threads: int, say: Say, poll_s: float = POLL_S) -> None:
        """Nothing runs yet.

        Args:
            job: what each worker does, under a name of its own.
            study: the same study, to look at.
            count: workers at a time.
            threads: CPU threads of each.
            say: shows a line about workers.
            poll_s: seconds between two looks.
        """
        self.job, self.study, self.count, self.threads, self.say, self.poll_s = job, study, count, threads, say, poll_s
        self.place = job.place
        self._living: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
        self._dead: set[str] = set()
        self._in_vain = 0
        self._over = 0
        self._asked = 0.0
        self._gpus = _gpus()

    def __enter__(self) -> "Crew":
        """Take up, and take away, what workers of an earlier time have left."""
        sweep(self.place.folder)
        self._reclaim()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End every worker in order, or else at once."""
        for _, process in self._living.values():
            _let_go(process)
        end = time.monotonic() + _GRACE_S
        for worker, (_, process) in self._living.items():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._dead.add(worker)
            if process.returncode == 0:
                self._tidy(worker)
        if self._living:
            self._living = {}
            # Where something else went wrong, that is to be said; the next start takes the trials up.
            with contextlib.suppress(*(() if error is None else (StorageError,))):
                self._reclaim(patient=error is None)

    def work(self, told: Callable[[Progress], None]) -> None:
        """Keep workers at it until the study has its trials.

        Args:
            told: called when another trial is over, and at the start.

        Raises:
            ModelError: workers or trials fail from the start, one like the other.
            StorageError: the study's database does not answer.
        """
        seen: dict[int, Fate] = {}
        at_start: set[int] | None = None
        waits = False
        while True:
            self._reap()
            trials = self.place.patiently(lambda: self.study.get_trials(deepcopy=False), self.say)
            found = retry.fates(trials)
            over = {number for number, fate in found.items() if fate in retry.OVER}
            at_start = over if at_start is None else at_start
            self._tell_lost(trials, found, seen)
            now = progress(trials, self.job.total, self.count)
            if not seen or now.over > self._over:
                self._over, self._in_vain = now.over, 0
                told(now)
            seen = found or {-1: Fate.WAITING}
            self._require_sense(trials, found, at_start)
            wanted = retry.to_begin(trials, self.job.total)
            if not wanted and not now.running:
                return
            if retry.unreplaced(trials) or self._strangers(trials, found):
                self._reclaim()
            if not wanted and not self._living and not waits:
                waits = True
                self.say(f"waiting for {now.running} trial{'s' * (now.running > 1)} of other machines")
            self._start(wanted + sum(found[trial.number] is Fate.RUNNING and self._own(trial) for trial in trials))
            time.sleep(self.poll_s)

    def _start(self, wanted: int) -> None:
        """Fill free slots, as far as there are trials for them: `wanted`, those that own workers are at included."""
        taken = {slot for slot, _ in self._living.values()}
        for slot in [slot for slot in range(self.count) if slot not in taken][:max(0, wanted - len(taken))]:
            worker = uuid.uuid4().hex[:12]
            environment = os.environ | {name: str(self.threads) for name in _THREADS} | {
                "PYTHONPATH": os.pathsep.join(filter(None, (str(CODE_ROOT), os.environ.get("PYTHONPATH"))))}
            if len(self._gpus) > 1:
                environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
            log = self._log(worker)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                process = subprocess.Popen([sys.executable, "-m", "pipeline.tuning.worker"], cwd=self.job.root,
                                           env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output,
                                           start_new_session=True)
            assert process.stdin is not None
            self._living[worker] = slot, process
            try:
                process.stdin.write(replace(self.job, worker=worker).dump().encode())
                process.stdin.flush()
            except BrokenPipeError:
                continue  # it has died already, which the next look finds

    def _reap(self) -> None:
        """Take note of workers that have ended.

        Raises:
            ModelError: one says why none can work, or too many have died in vain.
        """
        for worker, (slot, process) in list(self._living.items()):
            if (status := process.poll()) is None:
                continue
            del self._living[worker]
            self._dead.add(worker)
            _let_go(process)
            if status == 0:
                self._tidy(worker)
                continue
            last = _last_line(self._log(worker))
            if status == CANNOT:
                raise ModelError(last.removeprefix("tune: "))
            how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}: {last}"
            self._in_vain += 1
            if self._in_vain > (retry.MOST_RETRIES + 1) * self.count:
                raise ModelError(f"workers must live to finish a trial: {self._in_vain} in a row did not, the last was "
                                 f"{how}; {self._log(worker)} has what it printed")
            self.say(f"worker {slot + 1} was {how}; another takes its place")
            self._reclaim()

    def _reclaim(self, patient: bool = True) -> None:
        """Queue the values of lost trials again; `patient`: the database may be away for a while."""
        def take_up() -> None:
            with self.place.answering(), self.place.claim(self.job.study):
                retry.reclaim(self.study, self.place, self._dead)

        if patient:
            self.place.patiently(take_up, self.say)
        else:
            take_up()
        for worker in self._dead:
            self.place.lock_of(worker).unlink(missing_ok=True)

    def _strangers(self, trials: Sequence["FrozenTrial"], found: dict[int, Fate]) -> bool:
        """Whether a trial runs that none of the own workers has signed, and it is time to ask whether its own lives."""
        if time.monotonic() - self._asked < _STRANGERS * self.poll_s:
            return False
        self._asked = time.monotonic()
        return any(found[trial.number] is Fate.RUNNING and not self._own(trial) for trial in trials)

    def _own(self, trial: "FrozenTrial") -> bool:
        """Whether a living worker of this crew has signed the trial."""
        return trial.user_attrs.get(retry.OWNER, {}).get("worker") in self._living

    def _tell_lost(self, trials: Sequence["FrozenTrial"], found: dict[int, Fate], seen: dict[int, Fate]) -> None:
        """Say what has become of lost trials since the last look."""
        for trial in trials:
            before = trial.user_attrs.get(retry.RETRY_OF)
            if seen and trial.number not in seen and before is not None:
                self.say(f"trial {before} lost its worker; its values are tried again as trial {trial.number}")
            if seen and found[trial.number] is Fate.FAILED and seen.get(trial.number) is not Fate.FAILED:
                self.say(f"trial {trial.number} failed: {retry.reason(trial)}")

    def _require_sense(self, trials: Sequence["FrozenTrial"], found: dict[int, Fate], at_start: set[int]) -> None:
        """Stop where every trial fails.

        Raises:
            ModelError: the first ones have, and none has not.
        """
        failed = [trial for trial in trials if found[trial.number] is Fate.FAILED and trial.number not in at_start]
        scored = any(fate in (Fate.DONE, Fate.PRUNED) for fate in found.values())
        if len(failed) >= _ALL_FAILED and not scored:
            raise ModelError(f"a trial must succeed now and then: all {len(failed)} of this study failed, the last as "
                             f"{retry.reason(failed[-1])}")

    def _tidy(self, worker: str) -> None:
        """Remove the log of a worker that ended in order, unless it keeps where a trial met a defect."""
        log = self._log(worker)
        with contextlib.suppress(FileNotFoundError):  # another search tidies up, too
            if "Traceback (most recent call last)" not in log.read_text(encoding="utf-8", errors="replace"):
                log.unlink()

    def _log(self, worker: str) -> Path:
        return self.place.lock_of(worker).with_suffix(".log")


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Close what a worker reads; it may have died before it had read its job, which then is still to be written."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it printed nothing"


def _gpus() -> list[str]:
    """Names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES has them."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in given.split(",") if name.strip()]
    return [str(number) for number in range(len(gpu_handles()))]
