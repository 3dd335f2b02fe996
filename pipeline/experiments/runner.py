"""Run the variants of an ablation one after another; what is finished stays finished, whatever happens meanwhile.

State lies in .kumulus/ablate/<name>/, by variant and key: its results, how long it took, and what its stages printed.
"""

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, ParamsError
from pipeline.experiments.plan import Plan, Variant
from pipeline.experiments.repository import (
    Ended,
    experiment_rev,
    head,
    read_results,
    require_committed,
    require_params,
    run_experiment,
    untracked_inputs,
)
from pipeline.paths import Paths, staged_folder, write_json

#: Tells the stages' runs which ablation they are of (a tag in MLflow).
VARIABLE = "KUMULUS_ABLATION"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a variant: the folder of its results, or the reason there are none."""

    variant: Variant
    experiment: str
    results: Path | None
    reason: str = ""


def run_variants(plan: Plan, paths: Paths, replan: Callable[[], Plan], say: Say) -> list[Outcome]:
    """Run what is not finished; a variant that fails does not keep the others.

    Args:
        plan: the variants, the baseline first.
        paths: of the repository.
        replan: the plan as it would be made now; asked before each variant.
        say: shows a line of progress.

    Raises:
        ParamsError: what would run is not committed, or changes while the ablation runs.
        IntegrityError: the baseline fails, or another process works on this ablation.
    """
    folder = paths.ablations / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    begun = time.monotonic()
    with _locked(folder) as descriptor:
        took = {v.name: seconds for v in plan.variants if (seconds := _seconds(_results(folder, v))) is not None}
        for number, variant in enumerate(plan.variants, start=1):
            place = f"{number} of {len(plan.variants)}: {variant.name}"
            if _results(folder, variant).exists():
                say(f"{place}, finished before")
                outcomes.append(Outcome(variant, plan.experiment(variant), _results(folder, variant)))
                continue
            if [v.key for v in replan().variants] != [v.key for v in plan.variants]:
                raise ParamsError("params, code and inputs must stay as they are while an ablation runs: they have "
                                  "changed; run it again, which begins anew where they matter")
            left = [v for v in plan.variants[number - 1:] if not _results(folder, v).exists()]
            say(f"{place}, {shown(time.monotonic() - begun)} elapsed, {time_left(list(took.values()), len(left))}")
            since = time.monotonic()
            outcome = _run(plan, variant, paths, folder, descriptor, say)
            if outcome.results is not None:
                seconds = _seconds(outcome.results)
                say("  had finished meanwhile" if seconds is None else f"  took {shown(seconds)}")
                took |= {} if seconds is None else {variant.name: seconds}
            else:
                say(f"  FAILED after {shown(time.monotonic() - since)}: {outcome.reason}")
                if number == 1:
                    raise IntegrityError(f"the baseline of ablation {plan.name} must run, or there is nothing to "
                                         f"compare with: {outcome.reason}")
            outcomes.append(outcome)
    return outcomes


def _run(plan: Plan, variant: Variant, paths: Paths, folder: Path, descriptor: int, say: Say) -> Outcome:
    """Run one variant, unless an experiment of its name is there, and keep its results."""
    root, name = paths.root, plan.experiment(variant)
    log = folder / f"{_label(variant)}.log"
    since = time.monotonic()
    ended: Ended | None = None
    rev = experiment_rev(root, name)
    if rev is None:
        require_committed(root)
        copies = untracked_inputs(root, str(variant.dump["acquire"]["inputs"]))
        say(f"  dvc exp run {name}; {log} shows what it prints")
        ended = run_experiment(root, name, variant.overrides, copies, log, {VARIABLE: plan.name}, descriptor)
        if ended.reason:
            return Outcome(variant, name, None, ended.reason)
        rev = experiment_rev(root, name)
    if rev is None:
        return Outcome(variant, name, None, f"dvc ended well and left no experiment {name}; see {log}")
    require_params(root, rev, {k: v for k, v in variant.dump.items() if k != "export"})
    with staged_folder(_results(folder, variant)) as results:
        read_results(root, name, rev, results)
        record: dict[str, Any] = {"experiment": name, "commit": rev, "baseline_commit": head(root), "key": variant.key}
        if ended is not None:
            record |= {"seconds": round(time.monotonic() - since, 1), "stages": list(ended.stages)}
        write_json(results / "record.json", record)
    return Outcome(variant, name, _results(folder, variant))


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the ablation's lock; its descriptor goes to DVC's process, so that it outlives a killed `kumulus`.

    Raises:
        IntegrityError: another process holds it.
    """
    with (folder / "lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IntegrityError(f"one process at a time may work on ablation {folder.name}: another does, or an "
                                 "experiment of one that was killed still runs; wait for it to end (its result is "
                                 "kept), or end it") from error
        yield file.fileno()


def _label(variant: Variant) -> str:
    return f"{variant.name}-{variant.key[:8]}"


def _results(folder: Path, variant: Variant) -> Path:
    return folder / _label(variant)


def _seconds(results: Path) -> float | None:
    """How long a finished variant took; None where it is not known."""
    file = results / "record.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found.get("seconds")


def time_left(took_s: Sequence[float], left: int) -> str:
    """How long the variants that are left will take, if they take as long as the finished ones did in the mean."""
    if not took_s:
        return f"{left} to run, time left known after the first"
    return f"{left} to run, about {shown(left * sum(took_s) / len(took_s))} left"


def shown(seconds: float) -> str:
    """A duration in words."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
