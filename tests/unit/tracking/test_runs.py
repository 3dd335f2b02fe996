"""Runs of stages with their sender process, and what a dead server or a killed stage leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.digests import CODE_ROOT
from pipeline.errors import IntegrityError, SplitError
from pipeline.paths import Paths
from pipeline.tracking.journal import is_over, journals, read
from pipeline.tracking.runs import child_run, run_key, train_run
from pipeline.tracking.sender import sync

Runs = Callable[[], list[Any]]

TRAINING = """
import sys, time
from pathlib import Path
from pipeline.paths import Paths
from pipeline.tracking.runs import train_run
with train_run(Paths(Path(sys.argv[1])), "killed") as log:
    log.metrics({"loss": 1.0}, 0)
    print("trains", flush=True)
    time.sleep(120)
"""

CONNECT = """
import sys
from pathlib import Path
from pipeline.paths import Paths
from pipeline.tracking.delivery import Courier
from pipeline.tracking.store import locate
print(Courier(locate(Paths(Path(sys.argv[1])))).experiment_id)
"""


def write_key(paths: Paths, key: str) -> None:
    paths.run_file.parent.mkdir(parents=True, exist_ok=True)
    paths.run_file.write_text(json.dumps({"key": key}))


def test_a_run_is_in_mlflow_when_the_stage_ends(
    paths: Paths, runs: Runs, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tidy-otter")
    with train_run(paths, "0123456789abcdef0123", {"kumulus.seed": "1"}) as log:
        log.metrics({"loss": 1.0}, 0)
    assert capfd.readouterr().err == ""
    assert journals(paths.journal) == []
    (run,) = runs()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "tidy-otter-train")
    assert run.data.tags["kumulus.dvc_experiment"] == "tidy-otter"
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100


def test_a_dead_server_costs_one_line_and_nothing_is_lost(
    paths: Paths,
    runs: Runs,
    dead_server: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_key(paths, "key")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with train_run(paths, "key") as log:
        log.metrics({"loss": 1.0}, 0)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"tracking: MLflow at {dead_server} did not take this run ([Errno")
    assert lines[0].endswith(
        "nothing is lost: it lies in .kumulus/journal/key-train-1, and `kumulus sync` sends it later")
    with pytest.raises(SplitError), child_run(paths, "evaluate") as log:
        raise SplitError("no split")
    (unreachable,) = sync(paths)
    assert unreachable.outcome == "unreachable"
    assert len(journals(paths.journal)) == 2

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert [one.outcome for one in sync(paths)] == ["delivered", "delivered"]
    assert sync(paths) == []
    parent, child = runs()
    assert (parent.info.status, child.info.status) == ("FINISHED", "FAILED")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["kumulus.error"] == "SplitError: no split"


def test_a_killed_training_is_closed_by_its_sender(paths: Paths, runs: Runs) -> None:
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(paths.root)], cwd=CODE_ROOT, stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    with training, training.stdout as out:
        assert out.readline() == "trains\n"
        os.kill(training.pid, signal.SIGKILL)
    _wait(lambda: not list(paths.journal.glob("killed-*")))
    (run,) = runs()
    assert (run.info.status, run.data.metrics["loss"]) == ("KILLED", 1.0)


def test_a_killed_sender_leaves_the_journal_to_sync(
    paths: Paths, runs: Runs, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking import runs as module

    senders: list[subprocess.Popen[bytes]] = []
    start = module.start

    def kept(folder: Path, where: Paths) -> "subprocess.Popen[bytes]":
        senders.append(start(folder, where))
        return senders[0]

    monkeypatch.setattr(module, "start", kept)
    with train_run(paths, "key") as log:
        senders[0].kill()
        log.metrics({"loss": 1.0}, 0)
    line = capfd.readouterr().err
    assert "its sender ended with status -9" in line
    assert "`kumulus sync` sends it later" in line
    assert [one.outcome for one in sync(paths)] == ["delivered"]
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_an_interrupt_is_a_kill(
    paths: Paths, dead_server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with pytest.raises(KeyboardInterrupt), train_run(paths, "key"):
        raise KeyboardInterrupt
    (folder,) = journals(paths.journal)
    assert is_over(folder)
    assert list(read(folder))[-1].fields["status"] == "KILLED"
    assert "nothing is lost" in capfd.readouterr().err


def test_two_processes_may_make_the_database_at_once(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", CONNECT, str(tmp_path)], cwd=CODE_ROOT, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert (tmp_path / "mlflow.db").is_file()


def test_a_child_run_needs_the_key_of_a_training(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with pytest.raises(IntegrityError, match=r"run\.json must hold the key of the training"):
        run_key(paths)
    write_key(paths, "abc")
    assert run_key(paths) == "abc"
    paths.run_file.write_text("[]")
    with pytest.raises(IntegrityError, match="dvc checkout"), child_run(paths, "evaluate"):
        pass


def _wait(condition: Callable[[], bool]) -> None:
    """Until it holds; the suite's own limit ends a wait that never does."""
    while not condition():
        time.sleep(0.1)
