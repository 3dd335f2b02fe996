"""`kumulus lr-find` on a small project: its answer, its files, and nothing else changed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.digests import canonical_sha256, file_sha256, folder_digests
from pipeline.networks.members import save_member
from pipeline.networks.segmenter import build
from pipeline.params.load import load
from pipeline.params.task import Task
from pipeline.params.train import TrainParams
from pipeline.scenes.store import SceneStore
from pipeline.seeding import seed_everything
from pipeline.splits.split import Split
from pipeline.training.prepare import prepare


@pytest.fixture
def project_folder(tiny_data: Callable[..., Any], small_params: Callable[..., dict[str, Any]], tmp_path: Path,
                   monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with params.yaml, data/scenes and data/splits."""
    tiny_data("data")
    params = small_params({"train.patches.size_px": 32, "train.monitor": "mcc", "export.class_shares": {}})
    params["task"] = {"bands": ["blue", "green", "red", "nir"], "background": "background", "classes": [
        {"name": n, "color": "#102030"} for n in ("background", "settlement", "water")]}
    params.pop("refine_labels")
    params["evaluate"].pop("object_classes", None)
    params["evaluate"]["baselines"].pop("index_rules", None)
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.use_deterministic_algorithms(False)


def test_it_suggests_a_rate_and_draws_the_curve(project_folder: Path) -> None:
    before = folder_digests(project_folder)
    result = CliRunner().invoke(app, ["lr-find", "--steps", "24", "--low", "1e-5", "--high", "1"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("the loss falls fastest at ")
    made = {name: digest for name, digest in folder_digests(project_folder).items() if name not in before}
    assert sorted(made) == ["reports/lr_find/rates.csv", "reports/lr_find/rates.png"]
    assert before.items() <= folder_digests(project_folder).items()
    rows = Path("reports/lr_find/rates.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "rate,loss,smoothed"
    assert rows[1].startswith("1e-05,")


def test_it_starts_as_the_first_of_several_members_does(project_folder: Path) -> None:
    """Which holds out fold 0, while the certificate's val fold is 1: that start would leak, and be refused."""
    file = project_folder / "params.yaml"
    raw = YAML(typ="safe", pure=True).load(file)
    certificate = project_folder / "data/splits/certificate.json"
    certificate.write_text(json.dumps({**json.loads(certificate.read_text()), "val_fold": 1}))
    params = load(file)
    ready = prepare(SceneStore.open(project_folder / "data/scenes"), Split.open(project_folder / "data/splits"),
                    params.section(Task), params.section(TrainParams), 1)
    digests = []
    for fold in range(3):
        seed_everything(fold)
        folder = project_folder / f"start/members/{fold}"
        save_member(folder, build(ready.spec.model_copy(update={"val_fold": fold})), "epoch\n1\n")
        digests.append(file_sha256(folder / "weights.safetensors"))
    raw["spatial_split"]["folds"] = 3
    raw["train"] |= {"folds": 3, "warm_start": {"uri": "start", "sha256": canonical_sha256(digests)}}
    with file.open("w", encoding="utf-8") as out:
        YAML().dump(raw, out)
    result = CliRunner().invoke(app, ["lr-find", "--steps", "20", "--low", "1e-5", "--high", "1"])
    assert result.exit_code == 0, result.output


def test_the_curve_stays_where_nothing_can_be_suggested(project_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training.lr_find import RateSweep

    rising = RateSweep(*(tuple(float(i) for i in range(1, 12)),) * 3)
    monkeypatch.setattr("pipeline.training.lr_find.find_rate", lambda *_: rising)
    result = CliRunner().invoke(app, ["lr-find"])
    assert result.exit_code == 1
    assert "the loss must fall at some rate between 1 and 11" in result.output
    assert Path("reports/lr_find/rates.csv").read_text(encoding="utf-8") == rising.csv
    assert Path("reports/lr_find/rates.png").stat().st_size > 5000
