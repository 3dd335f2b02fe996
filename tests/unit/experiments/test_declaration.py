"""A declaration says what it means, and what is wrong with it in one line."""

from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.experiments.declaration import read


def declared(folder: Path, text: str) -> Path:
    file = folder / "lakes.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_name_is_the_files_and_the_rest_has_defaults(tmp_path: Path) -> None:
    found = read(declared(tmp_path, "changes: {slow: {train.optimizer.lr: 1e-4}}"))
    assert (found.name, found.baseline, found.metrics, found.seeds, found.folds) == (
        "lakes", "baseline", ("mcc", "macro_iou"), (), 0)
    assert found.changes == {"slow": {"train.optimizer.lr": 0.0001}}  # YAML 1.2: a number


def test_a_given_name_stays(tmp_path: Path) -> None:
    assert read(declared(tmp_path, "name: mine\nchanges: {a: {seed: 1}}")).name == "mine"


@pytest.mark.parametrize(("text", "message"), [
    ("change: {a: {seed: 1}}", r"lakes.yaml: change is not a known key; did you mean 'changes'\?"),
    ("changes: {a: {seed: 1}}\nxyz: 1", "xyz is not a known key; known here: baseline, changes"),
    ("", "changes: Field required"),
    ("- 1", "the file: Input should be"),
    ("changes: {}", "changes: Dictionary should have at least 1 item"),
    ("changes: {a: {}}", r"changes.a must change something: got \{\}"),
    ("changes: {A b: {seed: 1}}", "String should match pattern"),
    ("changes: {a-: {seed: 1}}", "String should match pattern"),
    ("changes: {baseline: {seed: 1}}", "changes must not have the baseline's name: got 'baseline'"),
    ("changes: {a: {train.seeds: [1]}}", "a must not set train.seeds, which is the same for all variants: set `seeds`"),
    ("common: {train.folds: 5}\nchanges: {a: {seed: 1}}", "common must not set train.folds"),
    ("metrics: [mcc, iuo.water]\nchanges: {a: {seed: 1}}", "metrics must be mcc, .* got 'iuo.water'"),
    ("metrics: [mcc, mcc]\nchanges: {a: {seed: 1}}", "metrics must differ"),
    ("metrics: []\nchanges: {a: {seed: 1}}", "metrics: Tuple should have at least 1 item"),
    ("seeds: [1, 1]\nchanges: {a: {seed: 1}}", r"seeds must differ: got \[1, 1\]"),
    ("changes: {a: [", "lakes.yaml must be YAML 1.2"),
])
def test_faults_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        read(declared(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"must be declared in a YAML file: .*none.yaml is none"):
        read(tmp_path / "none.yaml")
