import hashlib
import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.paths import Paths
from pipeline.tracking.lineage import export_lineage, git_state, now, prediction_lineage, write_lineage


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An export of two files and the record of a training."""
    paths = Paths(tmp_path)
    (paths.export / "maps").mkdir(parents=True)
    (paths.export / "maps/a.tif").write_text("map")
    (paths.export / "model.onnx").write_text("model")
    paths.run_file.write_text('{"key": "k1", "environment": {"device": "cpu"}}')
    return paths


def git(folder: Path, *command: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *command], check=True, capture_output=True)


def test_names_finished_files_statement_and_run(paths: Paths) -> None:
    lineage = export_lineage(paths.export, "ab", paths)
    assert lineage["files"] == {"maps/a.tif": sha256("map"), "model.onnx": sha256("model")}
    assert (lineage["provenance"], lineage["kind"]) == ("ab", "export")
    assert lineage["run"] == {"key": "k1", "environment": {"device": "cpu"}}
    write_lineage(paths.export / "lineage.json", lineage)
    assert json.loads((paths.export / "lineage.json").read_text()) == lineage


def test_a_pulled_checkpoint_has_no_run(paths: Paths) -> None:
    paths.run_file.unlink()
    assert export_lineage(paths.export, "ab", paths)["run"] is None


@pytest.mark.parametrize(("text", "said"), [("{", "must be JSON"), ("[]", "must hold the run's key"),
                                            ('{"id": 1}', r"must hold the run's key .*got \['id'\]")])
def test_a_broken_run_file_is_an_error(paths: Paths, text: str, said: str) -> None:
    paths.run_file.write_text(text)
    with pytest.raises(IntegrityError, match=said):
        export_lineage(paths.export, "ab", paths)


def test_commit_and_dirt(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # before the first commit
    git(tmp_path, "commit", "--allow-empty", "-m", "one")
    clean = git_state(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "new").write_text("")
    assert git_state(tmp_path) == {**clean, "dirty": True}


def test_a_prediction_names_scene_and_outputs(tmp_path: Path) -> None:
    (tmp_path / "s.tif").write_text("scene")
    (tmp_path / "s_class.tif").write_text("map")
    model = {"name": "model.onnx", "sha256": "cd"}
    lineage = prediction_lineage(tmp_path / "s.tif", model, "", [tmp_path / "s_class.tif"], {"scale": 1.0})
    assert lineage["scene"] == {"name": "s.tif", "sha256": sha256("scene")}
    assert lineage["files"] == {"s_class.tif": sha256("map")}
    assert (lineage["model"], lineage["provenance"], lineage["settings"]) == (model, None, {"scale": 1.0})
    with pytest.raises(IntegrityError, match=r"none\.tif must be a file"):
        prediction_lineage(tmp_path / "none.tif", model, "", [], {})


def test_time_is_utc() -> None:
    assert datetime.fromisoformat(now()).utcoffset() == datetime.fromisoformat("2000-01-01T00:00:00+00:00").utcoffset()
