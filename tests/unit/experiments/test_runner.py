"""Variants run one after another; what is finished stays so, and what fails does not keep the others."""

import fcntl
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError, ParamsError
from pipeline.experiments import runner
from pipeline.experiments.declaration import Ablation
from pipeline.experiments.plan import Plan, make_plan
from pipeline.experiments.repository import Ended
from pipeline.experiments.runner import run_variants, shown, time_left
from pipeline.paths import Paths


class FakeDvc:
    """Stands in for git and DVC: which experiments were run, which exist, which fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.there: set[str] = set()
        self.fails: dict[str, str] = {}
        self.stops_at = ""
        for name, stand_in in {"experiment_rev": lambda root, name: "rev" if name in self.there else None,
                               "require_committed": lambda root: None, "require_params": lambda *_: None,
                               "head": lambda root: "head", "untracked_inputs": lambda *_: [],
                               "read_results": lambda *_: None,
                               "run_experiment": self.run}.items():
            monkeypatch.setattr(runner, name, stand_in)

    def run(self, root: Path, name: str, overrides: Sequence[str], *_: Any) -> Ended:
        variant = name.split("-")[1]
        if variant == self.stops_at:
            raise KeyboardInterrupt
        self.ran.append(variant)
        if variant in self.fails:
            return Ended(self.fails[variant], ("train",))
        self.there.add(name)
        return Ended("", ("train", "evaluate"))


@pytest.fixture
def dvc(monkeypatch: pytest.MonkeyPatch) -> FakeDvc:
    return FakeDvc(monkeypatch)


def plan_of(root: Path, epochs: int = 9) -> Plan:
    changes = {"a": {"train.epochs": 1}, "b": {"train.epochs": 2}}
    return make_plan(Ablation(name="t", changes=changes, common={"train.epochs": epochs}), root / "params.yaml")


def run(root: Path, plan: Plan, later: Plan | None = None) -> tuple[list[runner.Outcome], list[str]]:
    lines: list[str] = []
    return run_variants(plan, Paths(root), lambda: later or plan, lines.append), lines


def test_every_variant_runs_once_and_is_recorded(root: Path, dvc: FakeDvc) -> None:
    plan = plan_of(root)
    outcomes, lines = run(root, plan)
    assert dvc.ran == ["baseline", "a", "b"]
    assert all(outcome.results is not None and not outcome.reason for outcome in outcomes)
    assert lines[0].startswith("1 of 3: baseline, 0 s elapsed, 3 to run, time left known after the first")
    record = json.loads((outcomes[1].results / "record.json").read_text(encoding="utf-8"))  # type: ignore[operator]
    assert record["experiment"] == plan.experiment(plan.variants[1])
    assert (record["commit"], record["stages"]) == ("rev", ["train", "evaluate"])


def test_an_interrupted_ablation_continues(root: Path, dvc: FakeDvc) -> None:
    plan = plan_of(root)
    dvc.stops_at = "b"
    with pytest.raises(KeyboardInterrupt):
        run(root, plan)
    dvc.stops_at = ""
    outcomes, lines = run(root, plan)
    assert dvc.ran == ["baseline", "a", "b"]
    assert lines[:2] == ["1 of 3: baseline, finished before", "2 of 3: a, finished before"]
    assert "1 to run, about 0 s left" in lines[2]  # as long as the finished ones
    assert len(outcomes) == 3


def test_an_experiment_that_ended_after_a_kill_is_taken(root: Path, dvc: FakeDvc) -> None:
    plan = plan_of(root)
    dvc.there.add(plan.experiment(plan.variants[0]))
    _, lines = run(root, plan)
    assert dvc.ran == ["a", "b"]
    assert lines[1] == "  had finished meanwhile"
    assert lines[2].endswith("2 to run, time left known after the first")  # how long it took is not known


def test_a_failing_variant_keeps_no_other_and_is_tried_again(root: Path, dvc: FakeDvc) -> None:
    plan = plan_of(root)
    dvc.fails["a"] = "train: out of memory"
    outcomes, lines = run(root, plan)
    assert [o.reason for o in outcomes] == ["", "train: out of memory", ""]
    assert outcomes[1].results is None
    assert any("FAILED after 0 s: train: out of memory" in line for line in lines)
    dvc.fails.clear()
    outcomes, _ = run(root, plan)
    assert dvc.ran == ["baseline", "a", "b", "a"]
    assert [o.reason for o in outcomes] == ["", "", ""]


def test_without_a_baseline_nothing_else_runs(root: Path, dvc: FakeDvc) -> None:
    dvc.fails["baseline"] = "train: x"
    with pytest.raises(IntegrityError, match=r"the baseline of ablation t must run, .*: train: x"):
        run(root, plan_of(root))
    assert dvc.ran == ["baseline"]


def test_what_changes_meanwhile_ends_it(root: Path, dvc: FakeDvc) -> None:
    with pytest.raises(ParamsError, match="must stay as they are while an ablation runs"):
        run(root, plan_of(root), later=plan_of(root, epochs=8))
    assert dvc.ran == []


def test_other_params_run_anew(root: Path, dvc: FakeDvc) -> None:
    run(root, plan_of(root))
    run(root, plan_of(root, epochs=8))
    assert dvc.ran == ["baseline", "a", "b", "baseline"]  # only the baseline's own epochs have changed


def test_two_at_once_are_refused(root: Path, dvc: FakeDvc) -> None:
    folder = Paths(root).ablations / "t"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(IntegrityError, match="one process at a time may work on ablation t"):
            run(root, plan_of(root))


@pytest.mark.parametrize(("took", "left", "text"), [
    ([], 3, "3 to run, time left known after the first"),
    ([60.0, 120.0], 4, "4 to run, about 6 min left"),
    ([20.0], 2, "2 to run, about 40 s left"),
    ([3600.0], 5, "5 to run, about 5 h 00 min left"),
])
def test_time_left(took: list[float], left: int, text: str) -> None:
    assert time_left(took, left) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5520, "1 h 32 min")])
def test_durations(seconds: float, text: str) -> None:
    assert shown(seconds) == text
