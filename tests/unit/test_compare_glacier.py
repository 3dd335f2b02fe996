"""The glacier comparison takes no stale result for a new one: done means made with the params, code and data of now."""

import argparse
import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.paths import Paths
from tests.benchmarks import compare_glacier
from tests.benchmarks.compare_glacier import (
    VARIANTS,
    apart,
    finished,
    identity_of,
    is_done,
    link_data,
    run_variant,
    variant_params,
)

NAIVE = next(variant for variant in VARIANTS if variant.name == "no pretraining")


def options(**changes: int) -> argparse.Namespace:
    return argparse.Namespace(**{"folds": 5, "epochs": 24, "threads": 1, **changes})


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that were run; each writes what it would."""
    names: list[str] = []

    def run(command: list[str], cwd: Path, check: bool) -> None:
        stage, root = command[command.index("--stage") + 1], Path(command[command.index("--work") + 1])
        names.append(stage)
        result = Paths(root).run_file if stage == "train" else Paths(root).report("evaluate") / "metrics.json"
        for file in (result, Paths(root).checkpoint / "weights"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(len(names)) if stage == "train" or file == result else file.read_text())

    monkeypatch.setattr(compare_glacier.subprocess, "run", run)
    return names


def data(folder: Path, content: str) -> Path:
    for name in ("scenes", "splits"):
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        (folder / "data" / name / "file").write_text(content)
    return folder


def test_a_finished_variant_is_skipped_and_one_of_other_params_code_or_data_is_not(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = data(tmp_path / "images", "one")
    root = run_variant(NAIVE, tmp_path, images, options())
    assert ran == ["train", "evaluate"]
    assert finished(root)
    run_variant(NAIVE, tmp_path, images, options())
    assert len(ran) == 2
    run_variant(NAIVE, tmp_path, images, options(epochs=30))
    assert ran[2:] == ["train", "evaluate"]
    run_variant(NAIVE, tmp_path, data(tmp_path / "others", "two"), options(epochs=30))
    assert ran[4:] == ["train", "evaluate"]
    assert (root / "data").resolve() == tmp_path / "others/data"
    monkeypatch.setattr(compare_glacier, "stage_code", lambda root, stage: {"file.py": f"new {stage == 'evaluate'}"})
    run_variant(NAIVE, tmp_path, tmp_path / "others", options(epochs=30))
    assert ran[6:] == ["train", "evaluate"]


def test_a_killed_step_with_equal_params_and_old_results_is_not_done(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = data(tmp_path / "images", "one")
    root = run_variant(NAIVE, tmp_path, images, options())

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(compare_glacier.subprocess, "run", kill)
        with pytest.raises(KeyboardInterrupt):
            run_variant(NAIVE, tmp_path, images, options(epochs=30))
    assert not finished(root)
    run_variant(NAIVE, tmp_path, images, options(epochs=30))
    assert ran[2:] == ["train", "evaluate"]
    assert is_done(root, "train", Paths(root).run_file)
    assert set(identity_of(root, "evaluate")) == {"params", "code", "scenes", "splits", "checkpoint"}


def test_a_link_to_other_data_is_changed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("a", "b"):
        link_data(tmp_path / "run", data(tmp_path / name, name))
        assert (tmp_path / "run/data/scenes/file").read_text() == name


def test_rows_that_cannot_be_compared_are_told_and_longer_ones_may_be_longer() -> None:
    recipe = {"epochs": 24, "folds": 5, "code": "c", "data": "d"}
    assert apart("naive", recipe, recipe) == []
    assert apart("naive", {**recipe, "folds": 1, "code": "e"}, recipe) == ["folds", "code"]
    assert apart("twice as long", {**recipe, "epochs": 48}, recipe) == []
    longer = next(variant for variant in VARIANTS if variant.name == "twice as long")
    assert variant_params(longer, options(epochs=12), None)["train"]["epochs"] == 24


def test_tables_have_what_rows_were_made_with_and_no_difference_across_code(tmp_path: Path) -> None:
    interval = {"f1": {"value": 0.5, "low": 0.25, "high": None}}
    lakes = {"network": {"found": 1, "truth": 2, "false": 3, "f1": 0.5, "intervals": interval}}
    metrics = {"classes": ["background", "lake"], "headline": "reference", "objects": {"lake": lakes}}
    counts = [("reference", "network", block, t, p, 5 + t) for block in (1, 2) for t in (0, 1) for p in (0, 1)]
    table = pd.DataFrame(counts, columns=["truth", "method", "block", "true", "predicted", "count"])
    roots = {}
    for name, code in (("recipe", "a"), ("naive", "a"), ("no GLCM", "b")):
        root = roots[name] = tmp_path / name.replace(" ", "-")
        report = Paths(root).report("evaluate")
        report.mkdir(parents=True)
        (report / "metrics.json").write_text(json.dumps(metrics))
        table.to_parquet(report / "confusions.parquet")
        (root / "params.yaml").write_text('{"train": {"epochs": 24, "folds": 5}}')
        for stage in ("train", "evaluate"):
            mark = {"params": name, "code": code, "scenes": "s", "splits": "t"}
            (root / f"done-{stage}.json").write_text(json.dumps(mark))
    compare_glacier.write_tables(tmp_path, roots)
    rows = {row["name"]: row for row in json.loads((tmp_path / "table.json").read_text())["rows"]}
    assert {name: "minus_recipe" in row for name, row in rows.items()} == {
        "recipe": False, "naive": True, "no GLCM": False}
    assert (rows["naive"]["epochs"], rows["naive"]["folds"], rows["no GLCM"]["apart"]) == (24, 5, ["code"])
    text = (tmp_path / "table.md").read_text()
    assert "(not comparable with the recipe: other code)" in text
    assert "1 of 2, 3 | 0.500" in text
