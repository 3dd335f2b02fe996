"""Digests: against hashlib by hand, over names and bytes, and read from a dvc.yaml."""

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.digests import (
    canonical_sha256,
    file_sha256,
    folder_digests,
    folder_sha256,
    path_sha256,
    stage_code,
    stage_data,
    stage_outs,
    stage_params,
)
from pipeline.errors import IntegrityError

DVC = """
stages:
  acquire:
    cmd: python -m stages.acquire
    deps: [stages/acquire.py, "${acquire.inputs}", requirements.lock]
  train:
    cmd: python -m stages.train
    deps:
      - stages/train.py
      - pipeline/b.py: {}
      - requirements.lock
      - data/splits
      - data/scenes
    params: [train.optimizer, seed]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC)
    for name, text in (("stages/train.py", "a"), ("pipeline/b.py", "b"), ("data/scenes/x/image.tif", "x")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_file_has_the_digest_of_its_bytes(root: Path) -> None:
    assert file_sha256(root / "stages/train.py") == hashlib.sha256(b"a").hexdigest()
    assert path_sha256(root / "stages/train.py") == hashlib.sha256(b"a").hexdigest()


def test_a_folder_is_its_relative_paths_and_bytes(root: Path) -> None:
    assert folder_digests(root / "data") == {"scenes/x/image.tif": hashlib.sha256(b"x").hexdigest()}
    text = '{"scenes/x/image.tif":"' + hashlib.sha256(b"x").hexdigest() + '"}'
    assert folder_sha256(root / "data") == hashlib.sha256(text.encode()).hexdigest()
    assert path_sha256(root / "data") == folder_sha256(root / "data")


def test_times_do_not_count_but_names_and_bytes_do(root: Path) -> None:
    image = root / "data/scenes/x/image.tif"
    before = folder_sha256(root / "data")
    os.utime(image, (1, 1))
    assert folder_sha256(root / "data") == before
    image.write_text("y")
    changed = folder_sha256(root / "data")
    image.rename(image.with_name("other.tif"))
    assert len({before, changed, folder_sha256(root / "data")}) == 3


def test_plain_values_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical_sha256({"b": 1, "a": [1, 2]}) == canonical_sha256({"a": [1, 2], "b": 1})
    assert canonical_sha256({"a": [2, 1]}) != canonical_sha256({"a": [1, 2]})
    with pytest.raises(ValueError, match="Out of range"):
        canonical_sha256(float("nan"))


def test_what_is_missing_is_named(root: Path) -> None:
    with pytest.raises(IntegrityError, match=r"none\.py must be a file"):
        file_sha256(root / "none.py")
    with pytest.raises(IntegrityError, match="none must be a folder"):
        folder_digests(root / "none")
    with pytest.raises(IntegrityError, match=r"stage 'tune'.*\['acquire', 'train'\]"):
        stage_code(root, "tune")
    with pytest.raises(IntegrityError, match=r"dvc\.yaml must exist"):
        stage_code(root / "data", "train")


def test_a_stages_code_is_the_python_among_its_deps(root: Path) -> None:
    assert stage_code(root, "train") == {
        "pipeline/b.py": hashlib.sha256(b"b").hexdigest(),
        "stages/train.py": hashlib.sha256(b"a").hexdigest(),
    }


def test_a_stages_data_is_the_rest_but_the_lock(root: Path) -> None:
    assert stage_data(root, "train", {}) == ["data/scenes", "data/splits"]
    assert stage_data(root, "acquire", {"acquire": {"inputs": ["b.tif", "a"]}}) == ["a", "b.tif"]
    assert stage_data(root, "acquire", {"acquire": {"inputs": []}}) == []
    with pytest.raises(IntegrityError, match=r"must have acquire\.inputs"):
        stage_data(root, "acquire", {"acquire": {}})


def test_a_stages_params_are_the_keys_it_declares(root: Path) -> None:
    raw = {"seed": 3, "train": {"optimizer": {"lr": 0.1}, "epochs": 3}}
    assert stage_params(root, "train", raw) == {"seed": 3, "train.optimizer": {"lr": 0.1}}
    assert stage_params(root, "acquire", raw) == {}


def test_a_stages_outs_are_as_written_with_or_without_options(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {outs: [data/raw, {m.json: {cache: false}}]}, b: {cmd: x}}")
    assert stage_outs(tmp_path, "a") == ["data/raw", "m.json"]
    assert stage_outs(tmp_path, "b") == []
    with pytest.raises(IntegrityError, match=r"must define stage 'c'"):
        stage_outs(tmp_path, "c")
