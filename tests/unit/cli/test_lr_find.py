"""`kumulus lr-find` on a small project: its answer, its files, and nothing else changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.digests import folder_digests


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
