"""Runs of members below the run of their training: delivered beside it, taken up again, and found in any order."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.paths import Paths
from pipeline.tracking.delivery import Courier
from pipeline.tracking.journal import Journal, begin, journals
from pipeline.tracking.models import register_onnx
from pipeline.tracking.runs import member_run, train_run
from pipeline.tracking.sender import sync
from pipeline.tracking.store import client, locate
from pipeline.tracking.weights import fetch

Runs = Callable[[], list[Any]]
KEY = "0123456789abcdef0123"


@dataclass(frozen=True)
class One:
    """A member."""

    number: int

    @property
    def tags(self) -> dict[str, str]:
        return {"kumulus.seed": "7", "kumulus.val_fold": str(self.number)}


def journal_of(paths: Paths, stage: str, number: int | None = None, **tags: str) -> Journal:
    own = {} if number is None else {"kumulus.member": str(number)}
    return Journal.create(paths.journal, KEY, stage, f"{stage}-{number}", {**own, **tags})


def let_go(journal: Journal) -> None:
    """What a kill does: the lock goes, no `end` is written."""
    assert journal._descriptor is not None
    os.close(journal._descriptor)


def test_a_training_has_a_child_run_for_each_member(
    paths: Paths, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    with train_run(paths, KEY) as training:
        for number in range(2):
            with member_run(paths, KEY, One(number)) as member:
                member.params({"member": number, "seed": 7})
                for epoch in (1, 2):
                    member.metrics({"train_loss": 1 / epoch}, epoch)
        training.metrics({"val_mcc": 0.5, "val_mcc.sd_members": 0.1})
    assert capfd.readouterr().err == ""
    assert journals(paths.journal) == []
    parent, *children = runs()
    assert parent.data.metrics["val_mcc.sd_members"] == 0.1
    assert "train_loss" not in parent.data.metrics
    assert [child.info.run_name for child in children] == ["01234567-member-0", "01234567-member-1"]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [child.data.tags["kumulus.val_fold"] for child in children] == ["0", "1"]
    assert {child.data.tags["mlflow.source.name"] for child in children} == {"stages/train.py"}
    assert {child.info.status for child in (parent, *children)} == {"FINISHED"}
    assert children[1].data.metrics["train_loss"] == 0.5


def test_the_run_of_a_killed_member_is_taken_up_and_failures_are_told(paths: Paths, runs: Runs) -> None:
    killed, member = journal_of(paths, "train"), journal_of(paths, "member", 0)
    member.metrics({"train_loss": 1.0}, 1)
    let_go(killed)
    let_go(member)
    assert [one.outcome for one in sync(paths)] == ["delivered"] * 2
    assert [run.info.status for run in runs()] == ["KILLED", "KILLED"]
    before = {run.info.run_id for run in runs()}
    journal_of(paths, "train").close("FINISHED")
    for number in (0, 1):
        again = journal_of(paths, "member", number)
        again.metrics({"train_loss": 0.5}, 2)
        again.close("FINISHED")
    assert [one.outcome for one in sync(paths)] == ["delivered"] * 3
    assert before < {run.info.run_id for run in runs()}
    assert len(runs()) == 3
    courier = Courier(locate(paths))
    first = next(run for run in runs() if run.data.tags.get("kumulus.member") == "0")
    assert [m.step for m in courier.client.get_metric_history(first.info.run_id, "train_loss")] == [1, 2]
    with pytest.raises(ModelError), member_run(paths, KEY, One(1)):
        raise ModelError("diverged")
    assert [one.outcome for one in sync(paths)] == ["delivered"]
    second = next(run for run in runs() if run.data.tags.get("kumulus.member") == "1")
    assert (second.info.status, second.data.tags["kumulus.error"]) == ("FAILED", "ModelError: diverged")


def test_children_that_came_first_are_taken_in_by_their_parent(paths: Paths, runs: Runs) -> None:
    parent = journal_of(paths, "train")  # is still written when the others are sent
    for stage, number in (("member", 0), ("evaluate", None)):
        journal_of(paths, stage, number).close("FINISHED")
    assert sorted(one.outcome for one in sync(paths)) == ["delivered", "delivered", "running"]
    assert {run.data.tags["kumulus.parent"] for run in runs()} == {"not on this MLflow"}
    parent.close("FINISHED")
    assert [one.outcome for one in sync(paths)] == ["delivered"]
    training = next(run for run in runs() if run.data.tags["kumulus.stage"] == "train")
    children = [run for run in runs() if run is not training and run.info.run_id != training.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {training.info.run_id}
    assert not any("kumulus.parent" in run.data.tags for run in runs())


class Server:
    """A real MLflow server on the loopback, with its database and artifacts below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers",
             "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db", "--artifacts-destination",
             str(self._folder / "served")], cwd=self._folder, start_new_session=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
        while not self._answers():
            assert self._process.poll() is None, "the server ended by itself"
            time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
        except (urllib.error.URLError, OSError):
            return False
        return True


@pytest.fixture
def server(paths: Paths) -> Iterator[Server]:
    made = Server(paths.root)
    try:
        yield made
    finally:
        made.kill()


def test_a_server_that_dies_in_mid_run_gets_the_rest_by_sync(
    paths: Paths, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = paths.root / "model.json"
    file.write_text("{}")
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    with train_run(paths, KEY) as training:
        with member_run(paths, KEY, One(0)) as member:
            member.metrics({"train_loss": 1.0}, 1)
        while list(paths.journal.glob("*-member-1")):  # until the server has it
            time.sleep(0.1)
        with member_run(paths, KEY, One(1)) as member:
            member.metrics({"train_loss": 1.0}, 1)
            server.kill()
            member.metrics({"train_loss": 0.5}, 2)
            member.artifact(file, "train")
        training.metrics({"val_mcc": 0.5})
    (line,) = capfd.readouterr().err.splitlines()
    assert "and 1 beside it, and `kumulus sync` sends it later" in line
    assert [begin(folder).fields["stage"] for folder in journals(paths.journal)] == ["train", "member"]
    server.start()
    assert [one.outcome for one in sync(paths)] == ["delivered"] * 2
    found = client(locate(paths))
    experiment = found.get_experiment_by_name("kumulus")
    parent, *children = found.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    assert parent.data.metrics["val_mcc"] == 0.5
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    history = found.get_metric_history(children[1].info.run_id, "train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
    assert [item.path for item in found.list_artifacts(children[1].info.run_id, "train")] == ["train/model.json"]


def member_files(folder: Path, number: int) -> list[Path]:
    folder = folder / f"made{number}"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(f"weights {number}".encode())
    (folder / "model.json").write_text(json.dumps({"number": number}))
    return sorted(folder.iterdir())


def deliver(paths: Paths, *made: Journal) -> None:
    for journal in made:
        journal.close("FINISHED")
        time.sleep(0.002)
    assert [one.outcome for one in sync(paths)] == ["delivered"] * len(made)


def test_weights_come_back_from_a_run_and_a_registered_model(paths: Paths, runs: Runs, tmp_path: Path) -> None:
    training, export = journal_of(paths, "train"), journal_of(paths, "export")
    for file in member_files(tmp_path, 0):
        training.artifact(file, "train")
        training.artifact(file, "elsewhere/kept")
    model = tmp_path / "model.onnx"
    model.write_bytes(b"onnx")
    register_onnx(export, model, "kumulus-test", ["red"], ["a", "b"], {})
    deliver(paths, training, export)
    run_id = next(run.info.run_id for run in runs() if run.data.tags["kumulus.stage"] == "train")
    for number, uri in enumerate((f"runs:/{run_id}", f"runs:/{run_id}/elsewhere/kept", "models:/kumulus-test/1")):
        folder = tmp_path / f"fetched{number}"
        fetch(uri, folder, paths)
        assert (folder / "members/0/weights.safetensors").read_bytes() == b"weights 0"
        assert json.loads((folder / "members/0/model.json").read_text()) == {"number": 0}
        assert json.loads((folder / "run.json").read_text()) == {"key": KEY}
    exported = next(run.info.run_id for run in runs() if run.data.tags["kumulus.stage"] == "export")
    for uri, said in ((f"runs:/{exported}", "it is a run of stage export, which keeps no weights"),
                      (f"runs:/{run_id}/nowhere", "has no artifact nowhere/weights.safetensors"),
                      ("runs:/0123", "0123"), ("models:/other/1", "other"), ("models:/odd", "must read models:/name")):
        with pytest.raises(ModelError, match=f"must name a training that MLflow .*{said}"):
            fetch(uri, tmp_path / "none", paths)
        assert not (tmp_path / "none").exists()


def test_weights_of_several_members_come_from_their_own_runs(paths: Paths, runs: Runs, tmp_path: Path) -> None:
    training = journal_of(paths, "train")
    members = [journal_of(paths, "member", number) for number in (1, 0)]
    for journal, number in zip(members, (1, 0), strict=True):
        for file in member_files(tmp_path, number):
            journal.artifact(file, "train")
    deliver(paths, training, *members)
    ids = {run.data.tags.get("kumulus.member", "training"): run.info.run_id for run in runs()}
    fetch(f"runs:/{ids['training']}", tmp_path / "all", paths)
    fetched = [(tmp_path / f"all/members/{n}/weights.safetensors").read_text() for n in (0, 1)]
    assert fetched == ["weights 0", "weights 1"]
    fetch(f"runs:/{ids['1']}", tmp_path / "one", paths)
    assert (tmp_path / "one/members/1/weights.safetensors").read_text() == "weights 1"  # under its own number
    assert not (tmp_path / "one/members/0").exists()


def test_weights_from_a_dead_server_are_an_error(
    paths: Paths, dead_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead_server)
    with pytest.raises(ModelError, match=r"which did not answer .*; start it, or give the path of a checkpoint"):
        fetch("runs:/abc", tmp_path / "none", paths)
