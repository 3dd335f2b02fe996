"""Delivery into a real MLflow database: all arrives with its own time, and interruptions double nothing."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking import delivery
from pipeline.tracking.delivery import Bookmark, Courier
from pipeline.tracking.journal import DELIVERY_FILE, Journal, begin, journals, read
from pipeline.tracking.models import download, register_onnx
from pipeline.tracking.sender import sync
from pipeline.tracking.store import RefusedError, UnreachableError, locate

Runs = Callable[[], list[Any]]


def journal_of(paths: Paths, stage: str = "train", key: str = "k" * 20) -> Journal:
    return Journal.create(paths.journal, key, stage, f"run-{stage}", {"kumulus.seed": "42"})


def outcomes(paths: Paths) -> list[str]:
    return [delivered.outcome for delivered in sync(paths)]


def test_everything_arrives_with_the_time_it_happened(paths: Paths, runs: Runs) -> None:
    figure = paths.root / "figure.png"
    figure.write_bytes(b"png")
    journal = journal_of(paths)
    journal.params({"train": {"lr": 1e-3, "long": "x" * 7000}, "seed": 42})
    for epoch in range(3):
        journal.metrics({"loss": 1.0 / (epoch + 1)}, epoch)
    journal.dataset("scenes", "d" * 64, "data/scenes", "training")
    journal.artifact(figure, "figures")
    journal.close("FINISHED")
    events = list(read(journal.folder))
    assert outcomes(paths) == ["delivered"]
    assert journals(paths.journal) == []

    (run,) = runs()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run-train")
    assert (run.info.start_time, run.info.end_time) == (events[0].t, events[-1].t)
    assert run.data.tags["kumulus.run_key"] == "k" * 20
    assert run.data.tags["kumulus.seed"] == "42"
    assert run.data.params["train.lr"] == "0.001"
    assert len(run.data.params["train.long"]) == 6000
    assert run.data.params["train.long"].endswith("(7000 characters, see params.json)")
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("scenes", "d" * 36)
    assert json.loads(dataset.dataset.profile) == {"sha256": "d" * 64}
    courier = Courier(locate(paths))
    history = courier.client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.timestamp) for m in history] == [(e.fields["step"], e.t) for e in events[2:5]]
    artifacts = paths.root / "mlartifacts" / run.info.run_id / "artifacts"
    assert (artifacts / "figures/figure.png").read_bytes() == b"png"
    assert json.loads((artifacts / "params.json").read_text())["train"]["long"] == "x" * 7000


def test_an_interrupted_delivery_is_resumed_and_nothing_is_doubled(
    paths: Paths, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = paths.root / "model.onnx"
    model.write_bytes(b"onnx")
    journal = journal_of(paths)
    journal.params({"seed": 42})
    journal.metrics({"loss": 1.0}, 0)
    register_onnx(journal, model, "kumulus-test", ["blue"], ["a", "b"], {"kumulus.provenance": "p"})
    journal.artifact(model)
    journal.metrics({"loss": 0.5}, 1)
    journal.close("FINISHED")
    model_event = next(event for event in read(journal.folder) if event.kind == "model")
    before_model = max(e.next_offset for e in read(journal.folder) if e.next_offset < model_event.next_offset)

    def broken(self: Courier, folder: Path, mark: Bookmark, group: list[Any]) -> None:
        if group[0].kind == "artifact":
            raise UnreachableError("connection lost")
        send(self, folder, mark, group)

    send = Courier._send
    with monkeypatch.context() as patch:
        patch.setattr(Courier, "_send", broken)
        assert outcomes(paths) == ["unreachable"]
    assert Bookmark.load(journal.folder).offset == model_event.next_offset
    # As after a kill between the work and its bookmark: run and model version are there but not noted.
    (journal.folder / DELIVERY_FILE).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Courier, "_send", broken)
        assert outcomes(paths) == ["unreachable"]
    mark = Bookmark.load(journal.folder)
    mark.offset = before_model
    mark.save(journal.folder)
    assert outcomes(paths) == ["delivered"]

    (run,) = runs()
    courier = Courier(locate(paths))
    history = courier.client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.5)]
    assert len(courier.client.search_model_versions("name = 'kumulus-test'")) == 1


def test_a_run_without_an_end_is_closed_as_killed_and_taken_up_again(paths: Paths, runs: Runs) -> None:
    killed = journal_of(paths)
    killed.params({"seed": 1, "a": {"b": 2}})
    killed.metrics({"loss": 1.0}, 0)
    assert outcomes(paths) == ["running"]
    _let_go(killed)
    last = list(read(killed.folder))[-1].t
    assert outcomes(paths) == ["delivered"]
    (run,) = runs()
    assert (run.info.status, run.info.end_time) == ("KILLED", last)

    again = journal_of(paths)
    again.params({"seed": 1, "a": {"b": 3}})
    again.metrics({"loss": 0.5}, 1)
    again.close("FINISHED")
    assert outcomes(paths) == ["delivered"]
    (resumed,) = runs()
    assert (resumed.info.run_id, resumed.info.status) == (run.info.run_id, "FINISHED")
    assert resumed.data.params["a.b"] == "2"
    assert json.loads(resumed.data.tags["kumulus.params_changed"]) == {"a.b": "3"}


def test_child_runs_find_their_parent_or_say_that_it_is_not_there(paths: Paths, runs: Runs) -> None:
    for stage, key in (("evaluate", "other"), ("train", "k" * 20), ("evaluate", "k" * 20)):
        journal_of(paths, stage, key).close("FINISHED")
        time.sleep(0.002)  # journals are ordered by milliseconds
    assert outcomes(paths) == ["delivered"] * 3
    alone, parent, child = runs()
    assert alone.data.tags["kumulus.parent"] == "not on this MLflow"
    assert "mlflow.parentRunId" not in alone.data.tags
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["kumulus.stage"] == "evaluate"


def test_a_model_is_registered_byte_for_byte_with_its_signature(paths: Paths) -> None:
    model = _identity_onnx(paths.root / "model.onnx")
    journal = journal_of(paths, "export")
    tags = {"kumulus.provenance": "p" * 64}
    register_onnx(journal, model, "kumulus-test", ["blue", "red"], ["a", "b"], tags)
    journal.close("FINISHED")
    assert outcomes(paths) == ["delivered"]
    courier = Courier(locate(paths))
    (version,) = courier.client.search_model_versions("name = 'kumulus-test'")
    assert version.tags["kumulus.provenance"] == "p" * 64
    assert version.tags["kumulus.run_key"] == "k" * 20
    courier.client.set_registered_model_alias("kumulus-test", "best", version.version)
    for ref in ("models:/kumulus-test/1", "models:/kumulus-test@best"):
        fetched = download(ref, paths)
        assert (fetched.name, fetched.read_bytes()) == ("model.onnx", model.read_bytes())

    import mlflow.pyfunc
    import numpy as np

    (folder,) = (paths.root / "mlartifacts/models").glob("*/artifacts")
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert [spec.shape for spec in loaded.metadata.signature.inputs] == [(-1, 2, -1, -1)]
    image_NCHW = np.full((1, 2, 3, 4), 0.5, np.float32)
    assert np.array_equal(loaded.predict(image_NCHW)["probabilities"], image_NCHW)


def test_what_mlflow_refuses_stays_and_is_named(
    paths: Paths, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_of(paths, key="first").close("FINISHED")
    journal_of(paths, key="second").close("FINISHED")

    def refuse(self: Courier, first: Any) -> str:
        if begin(first_folder).fields["journal"] == first.fields["journal"]:
            raise RefusedError("no such thing")
        return run_id(self, first)

    first_folder = journals(paths.journal)[0]
    run_id = Courier._run_id
    monkeypatch.setattr(Courier, "_run_id", refuse)
    refused, delivered = sync(paths)
    assert (refused.outcome, delivered.outcome) == ("refused", "delivered")
    assert "first-train-1 was not taken" in refused.message
    assert "no such thing" in refused.message
    assert len(runs()) == 1


def test_a_changed_copy_is_not_delivered(paths: Paths) -> None:
    file = paths.root / "a.txt"
    file.write_text("a")
    journal = journal_of(paths)
    journal.artifact(file)
    journal.close("FINISHED")
    (journal.folder / "files/0/a.txt").write_text("b")
    (refused,) = sync(paths)
    assert refused.outcome == "refused"
    assert "must be the file that was recorded" in refused.message


def test_an_unknown_kind_of_event_stops_the_delivery(paths: Paths) -> None:
    journal = journal_of(paths)
    journal._append("video")
    journal.close("FINISHED")
    with pytest.raises(IntegrityError, match="got 'video'"):
        Courier(locate(paths)).deliver(journal.folder)


def test_neighbouring_metrics_travel_together(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "key", "train", "name", {})
    many: Mapping[str, float] = {f"m{i}": float(i) for i in range(300)}
    for step in range(4):
        journal.metrics(many, step)
    journal.tags({"a": "b"})
    journal.metrics(many, 4)
    journal.close("FINISHED")
    groups = [[event.kind for event in group] for group in delivery._grouped(read(journal.folder))]
    pair = ["metrics", "metrics"]
    assert groups == [["begin"], pair, pair, ["tags"], ["metrics"], ["end"]]


def _let_go(journal: Journal) -> None:
    """What a kill does: the lock goes, no `end` is written."""
    import os

    assert journal._descriptor is not None
    os.close(journal._descriptor)


def _identity_onnx(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    shape: list[str | int | None] = ["n", 2, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["probabilities"])], "identity",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_undefined_scores_alone_travel_with_no_other_kind(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "key", "train", "name", {})
    journal.tags({"a": "1"})
    journal.metrics({"loss": float("nan")}, step=1)
    journal.tags({"b": "2"})
    journal.close("FINISHED")
    kinds = [{event.kind for event in group} for group in delivery._grouped(read(journal.folder))]
    assert all(len(group) == 1 for group in kinds), kinds
