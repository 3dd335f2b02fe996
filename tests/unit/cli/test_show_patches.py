"""`kumulus show-patches` draws what a training with these params would see, and says what it drew."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline.cli import app
from tests.unit.conftest import TinyData


@pytest.fixture
def folder(tmp_path: Path, tiny_data: Callable[..., TinyData], small_params: Callable[..., dict[str, Any]],
           monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with params, scenes and a split."""
    tiny_data("data")
    raw = small_params({"train.patches.size_px": 32, "train.patches.augmentation": {"cutmix": 1.0, "noise": 0.2},
                        "task.classes": [{"name": name, "color": color} for name, color in (
                            ("background", "#b8b0a4"), ("settlement", "#d1495b"), ("water", "#2e86ab"))],
                        "refine_labels.rules": [], "evaluate.object_classes": [], "train.monitor": "mcc",
                        "evaluate.baselines.index_rules": []})
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(raw, file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def show(*options: str) -> str:
    result = CliRunner().invoke(app, ["show-patches", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_patches_are_drawn_and_counted(folder: Path) -> None:
    said = show("--count", "5")
    assert re.fullmatch(r"reports/patches\.png: 5 patches, \d+\.\d% of their pixels visible; "
                        r"labels: background (\S+)%, settlement (\S+)%, water (\S+)%\n", said)
    assert sum(map(float, re.findall(r"([\d.]+)%(?:,|$)", said.partition("labels")[2]))) == pytest.approx(100, abs=0.2)
    first = (folder / "reports/patches.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    show("--count", "5", "--out", "again.png")
    assert (folder / "again.png").read_bytes() == first
    show("--count", "5", "--epoch", "1", "--out", "other.png")
    assert (folder / "other.png").read_bytes() != first


def test_it_is_the_first_member_whose_patches_are_drawn(folder: Path) -> None:
    """With folds that is the one of the first seed and fold 0, whatever the project's seed and the certificate say."""
    file, certificate = folder / "params.yaml", folder / "data/splits/certificate.json"
    plain = YAML(typ="safe", pure=True).load(file)
    plain["spatial_split"]["folds"] = 3

    def shown(val_fold: int, out: str, seed: int, **train: Any) -> bytes:
        certificate.write_text(json.dumps({**json.loads(certificate.read_text()), "val_fold": val_fold}))
        with file.open("w", encoding="utf-8") as text:
            YAML().dump({**plain, "seed": seed, "train": {**plain["train"], **train}}, text)
        show("--count", "3", "--out", out)
        return (folder / out).read_bytes()

    assert shown(0, "alone.png", 7) == shown(1, "first.png", 3, folds=3, seeds=[7, 8])
    assert shown(0, "other.png", 3) != shown(0, "alone.png", 7)
