"""The sender's own loop, in this process: what it waits for and what it gives up."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.paths import Paths
from pipeline.tracking import sender
from pipeline.tracking.delivery import Bookmark, delivery_lock
from pipeline.tracking.journal import Journal, journals
from pipeline.tracking.sender import follow, sync
from pipeline.tracking.store import RefusedError, Store, UnreachableError

Runs = Callable[[], list[Any]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_POLL_S", 0.01)
    monkeypatch.setattr(sender, "_RETRY_S", 0.02)


def closed(paths: Paths, stage: str, key: str = "key") -> Journal:
    journal = Journal.create(paths.journal, key, stage, stage, {})
    journal.close("FINISHED")
    return journal


def test_what_is_left_of_the_same_training_goes_first(paths: Paths, runs: Runs) -> None:
    closed(paths, "train")
    other = closed(paths, "train", "other")
    assert follow(closed(paths, "evaluate").folder, paths)
    assert journals(paths.journal) == [other.folder]
    parent, child = runs()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_server_that_comes_late_gets_everything(
    paths: Paths, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(paths.journal, "key", "train", "train", {})
    tries: list[str] = []

    def late(_: Store) -> None:
        tries.append(Bookmark.load(journal.folder).problem)
        if len(tries) < 4:
            raise UnreachableError("connection refused")
        journal.close("FINISHED")

    monkeypatch.setattr(sender, "probe", late)
    assert follow(journal.folder, paths)
    assert tries == ["", *["connection refused"] * 3]
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_a_dead_server_is_given_up_when_the_run_is_over(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(_: Store) -> None:
        raise UnreachableError("connection refused")

    monkeypatch.setattr(sender, "probe", dead)
    journal = closed(paths, "train")
    assert not follow(journal.folder, paths)
    assert Bookmark.load(journal.folder).problem == "connection refused"
    assert journals(paths.journal) == [journal.folder]


def test_two_do_not_deliver_at_once(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "STALL_S", 0.05)
    journal = closed(paths, "train")
    with delivery_lock(paths.journal):
        assert not follow(journal.folder, paths)
    assert "lock" in Bookmark.load(journal.folder).problem


def test_a_journal_that_sync_has_delivered_is_done(paths: Paths) -> None:
    journal = closed(paths, "train")
    assert [one.outcome for one in sync(paths)] == ["delivered"]
    assert follow(journal.folder, paths)


def test_nothing_to_sync_is_no_work(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(_: Store) -> None:
        raise AssertionError("MLflow is not asked")

    monkeypatch.setattr(sender, "probe", unexpected)
    assert sync(paths) == []


class Refusing:
    """A courier whose MLflow takes nothing."""

    def __init__(self) -> None:
        self.asked: list[Path] = []

    def open(self, folder: Path) -> None:
        """The run is there."""

    def deliver(self, folder: Path) -> bool:
        self.asked.append(folder)
        if "member" in folder.name:
            raise RefusedError("a metric is not as it should be")
        return False


def test_what_mlflow_refuses_is_left_alone_twice_as_long_each_time(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_RETRY_S", 10.0)
    monkeypatch.setattr(sender, "_RETRY_MOST_S", 30.0)
    clock = [1000.0]
    monkeypatch.setattr(sender, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    training, member = (Journal.create(paths.journal, "key", stage, stage, {}) for stage in ("train", "member"))
    courier: Any = Refusing()
    waiting = sender._Waiting()
    tried = []
    for second in range(100):
        before = courier.asked.count(member.folder)
        clock[0] = 1000.0 + second
        sender._deliver_with_others(courier, training.folder, paths.journal, waiting, last=False)
        if courier.asked.count(member.folder) > before:
            tried.append(second)
    assert tried == [0, 10, 30, 60, 90]
    assert courier.asked.count(training.folder) == 100
    assert Bookmark.load(member.folder).problem == "a metric is not as it should be"
    sender._deliver_with_others(courier, training.folder, paths.journal, waiting, last=True)
    assert courier.asked.count(member.folder) == 6  # there is no later time


def test_a_stage_is_judged_by_its_own_journal(paths: Paths) -> None:
    def said(stage: str) -> str:
        journal = paths.journal / f"key-{stage}-1"
        return sender.finish(subprocess.Popen(["true"]), journal, paths, "key")

    assert said("evaluate") == said("train") == ""
    member = Journal.create(paths.journal, "key", "member", "member", {})
    sender._note(member.folder, problem="odd metric")
    assert re.fullmatch(r"tracking: MLflow at \S+ has this run, but not yet all of its training \(odd metric\): "
                        r"\S+/key-member-1 waits for `kumulus sync`", said("evaluate"))
    assert "did not take all of this training (odd metric)" in said("train")
    evaluated = Journal.create(paths.journal, "key", "evaluate", "evaluate", {})
    sender._note(evaluated.folder, problem="no answer")
    assert re.search(r"did not take this run \(no answer\); nothing is lost: it lies in \S+/key-evaluate-1, and "
                     r"`kumulus sync` sends it later \(and 1 older of its training\)$", said("evaluate"))
