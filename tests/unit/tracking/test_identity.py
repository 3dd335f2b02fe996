"""Identity tags: each changes with its own cause and with nothing else."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.tracking import identity as module
from pipeline.tracking.identity import data_digests, identity

DVC = """
stages:
  evaluate:
    cmd: python -m stages.evaluate
    deps: [stages/evaluate.py, requirements.lock, data/scenes, models/checkpoint, old/scenes]
    params: [evaluate, seed]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC)
    data = ("data/scenes/a", "models/checkpoint/b", "old/scenes/c")
    for name in ("stages/evaluate.py", "requirements.lock", *data):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(module, "CODE_ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def raw(project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load((project / "params.yaml").read_text())
    return loaded


def test_tags_name_params_lock_code_and_data(root: Path, raw: dict[str, Any]) -> None:
    tags = identity(Paths(root), Params(raw), "evaluate")
    assert sorted(tags) == [
        "kumulus.code_sha256", "kumulus.data_checkpoint_sha256", "kumulus.data_data_scenes_sha256",
        "kumulus.data_old_scenes_sha256", "kumulus.lock_sha256", "kumulus.params_sha256", "kumulus.seed",
        "kumulus.stage"]
    assert tags["kumulus.stage"] == "evaluate"
    assert {len(value) for name, value in tags.items() if name.endswith("sha256")} == {64}


@pytest.mark.parametrize(("file", "tag"), [
    ("stages/evaluate.py", "kumulus.code_sha256"),
    ("requirements.lock", "kumulus.lock_sha256"),
    ("models/checkpoint/b", "kumulus.data_checkpoint_sha256"),
])
def test_a_changed_file_changes_its_own_tag(root: Path, raw: dict[str, Any], file: str, tag: str) -> None:
    before = identity(Paths(root), Params(raw), "evaluate")
    (root / file).write_text("changed")
    after = identity(Paths(root), Params(raw), "evaluate")
    assert {name for name in before if before[name] != after[name]} == {tag}


def test_only_params_that_the_stage_reads_count(root: Path, raw: dict[str, Any]) -> None:
    before = identity(Paths(root), Params(raw), "evaluate")
    raw["train"]["epochs"] += 1
    assert identity(Paths(root), Params(raw), "evaluate") == before
    raw["evaluate"]["object_iou"] = 0.123
    after = identity(Paths(root), Params(raw), "evaluate")
    assert {name for name in before if before[name] != after[name]} == {"kumulus.params_sha256"}


def test_data_digests_are_by_name(root: Path, raw: dict[str, Any]) -> None:
    names = set(data_digests(Paths(root), Params(raw), "evaluate"))
    assert names == {"checkpoint", "data_scenes", "old_scenes"}
