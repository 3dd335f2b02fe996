"""The command line wires options to the library and answers errors in one line with exit status 1."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline import doctor
from pipeline.cli import app
from pipeline.doctor import Check
from pipeline.exporters import predict as predict_module
from pipeline.inference.raster_pixels import RasterValues
from pipeline.tracking import sender

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path, small_params: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with params.yaml and nothing made yet."""
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(small_params(), file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(*words: str, status: int) -> str:
    result = runner.invoke(app, words)
    assert result.exit_code == status, result.output
    return result.stderr if status else result.stdout


def test_recipes_are_listed_and_used(folder: Path) -> None:
    listed = answer("recipe", "list", status=0)
    assert "settlement" in listed
    assert "landcover" in listed
    assert "  train.epochs\n" in answer("recipe", "use", "settlement", status=0)
    assert YAML(typ="safe").load(folder / "params.yaml")["acquire"]["synthetic"]["size_px"] == 1024


@pytest.mark.parametrize(("words", "message"), [
    (["recipe", "use", "glacial"], "kumulus: recipe must be one of ['glacier', 'glacier-pretrain', 'landcover', "),
    (["check-training"], "kumulus: scene store data/scenes must hold manifest.json: not found; run `dvc repro"),
    (["lr-find"], "kumulus: scene store data/scenes must hold manifest.json: not found; run `dvc repro"),
    (["predict", "x.tif"], "kumulus: model models/export must be an .onnx file"),
    (["unseal"], "kumulus: models/checkpoint must be a folder"),
])
def test_errors_take_one_line(folder: Path, words: list[str], message: str) -> None:
    stderr = answer(*words, status=1)
    assert stderr.startswith(message)
    assert stderr.count("\n") == 1
    assert not (folder / "unseal.log.jsonl").exists()


def test_broken_params_are_answered_before_anything_else(folder: Path) -> None:
    (folder / "params.yaml").write_text("trian: {}\n", encoding="utf-8")
    for command in ("check-training", "lr-find", "unseal"):
        assert "kumulus: params.yaml: " in answer(command, status=1)


def test_predict_hands_its_options_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fake(scenes: list[Path], model: Path, out: Path, **options: Any) -> list[predict_module.Prediction]:
        seen.update(scenes=scenes, model=model, out=out, **options)
        return [predict_module.Prediction(out / "a_class.tif", out, out, out, {"water": 0.25, "land": 0.75})]

    monkeypatch.setattr(predict_module, "predict_scenes", fake)
    words = ["predict", "a.tif", "--model", "m.onnx", "--out", "maps", "--bands", "red, nir", "--scale", "1e-4",
             "--offset", "-1000", "--quantification", "1e4", "--nodata", "-1", "--zeros", "data"]
    assert answer(*words, status=0) == "maps/a_class.tif: water 25.0%, land 75.0%\n"
    assert seen == {"scenes": [Path("a.tif")], "model": Path("m.onnx"), "out": Path("maps"), "bands": ["red", "nir"],
                    "values": RasterValues(1e-4, -1000, 1e4, -1, "data"), "crs": ""}


def test_predict_needs_a_scene(folder: Path) -> None:
    assert "Missing argument" in answer("predict", status=2)


@pytest.mark.parametrize(("outcome", "status"), [("delivered", 0), ("running", 0), ("refused", 1), ("unreachable", 1)])
def test_sync_fails_where_runs_stay_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, status: int
) -> None:
    monkeypatch.setattr(sender, "sync", lambda paths: [sender.Delivery(folder, outcome, "so it went")])
    result = runner.invoke(app, ["sync"])
    assert (result.exit_code, result.stdout) == (status, f"{outcome}: so it went\n")


def test_sync_with_nothing_to_send(folder: Path) -> None:
    assert "nothing to send" in answer("sync", status=0)


@pytest.mark.parametrize(("state", "status"), [("ok", 0), ("note", 0), ("wrong", 1)])
def test_doctor_fails_only_where_something_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, state: Any, status: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda paths: [Check("python", "ok", "3.11"), Check("dvc", state, "so so")])
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == status
    assert result.stdout.splitlines()[1].split() == [state, "dvc", "so", "so"]


def test_ui_leaves_a_server_to_the_browser(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/mlflow")
    assert answer("ui", status=0) == "MLflow is a server: open https://example.org/mlflow in the browser\n"


def test_ui_makes_the_database_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def started(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "ui" not in command:  # mlflow and what it imports ask the system
            return run(command, **options)
        assert command[-4:] == ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                                "--default-artifact-root", f"{folder}/mlartifacts"]
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            assert database.execute("select count(*) from alembic_version").fetchone() == (1,)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", started)
    answer("ui", status=0)
    assert (folder / "mlflow.db.lock").exists()


def test_unseal_prints_the_recorded_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.evaluation import seal

    entry = json.loads('{"look": 2, "truth": "reference", "scores": {"mcc": 0.5, "iou": {"water": 0.1}}}')
    monkeypatch.setattr(seal, "unseal", lambda params, paths, draw: (None, entry))
    assert answer("unseal", status=0).startswith("look 2 at the test part against reference: mcc 0.500\nreports/")
    monkeypatch.setattr(seal, "unseal", lambda params, paths, draw: (None, entry | {"gates": {"held": 1, "of": 3}}))
    assert "mcc 0.500\n1 of 3 gates hold\n" in answer("unseal", status=0)
