"""The landcover recipe (plain cross-entropy) on real, imbalanced labels beside other losses and boosting, on one split.

    python -m tests.benchmarks.compare_gewata --inputs FOLDER --work FOLDER [--epochs 60] [--seeds 42 1 2] [--unseal]

FOLDER of --inputs holds image.tif and lulc_polygons.gpkg (Landsat 7 over Gewata, six classes, the rarest a thousandth).
Every variant trains a member for each seed on one split; evaluate scores the ensemble, the members and boosting with
focal features on val, and with --unseal on the sealed test part too. A finished variant is not run again. Writes
table.md: scores with intervals over blocks, mean and Student's interval over seeds, paired differences.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from pipeline.digests import CODE_ROOT
from pipeline.evaluation.seal import unseal
from pipeline.metrics.bootstrap import Estimate, Resamples, Sampled, differences, sample_scores
from pipeline.metrics.confusion import Confusion
from pipeline.params.load import Params
from pipeline.paths import Paths
from pipeline.seeding import generator
from pipeline.types import SilentLog
from stages import acquire, evaluate, rasterize, refine_labels, spatial_split, train

#: What each variant changes in section `train` of the recipe.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "recipe": {},
    "weighted cross-entropy and dice": {
        "loss": {"weights": {"cross_entropy": 1.0, "dice": 0.5}, "class_weights": "inverse_sqrt"},
    },
    "balanced sampling": {
        "loss": {"weights": {"cross_entropy": 1.0, "dice": 0.5}, "class_weights": "none"},
        "patches": {"size_px": 64, "per_epoch": 256, "sampling": {"name": "balanced"}},
    },
}
SCORES = ("mcc", "macro_iou")


def params_of(variant: Mapping[str, Any], epochs: int, seeds: list[int]) -> dict[str, Any]:
    """The landcover recipe with a variant's changes."""
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load(
        (CODE_ROOT / "recipes/landcover.yaml").read_text(encoding="utf-8"))
    return {"seed": 42, **raw, "train": {**raw["train"], **variant, "epochs": epochs, "seeds": seeds}}


def run_variant(root: Path, data: Path, raw: dict[str, Any], parts: list[str]) -> None:
    """Train and score in a folder of its own that shares the data."""
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "data").exists():
        (root / "data").symlink_to((data / "data").resolve(), target_is_directory=True)
    paths, params = Paths(root), Params(raw)
    (root / "params.yaml").write_text(json.dumps(raw), encoding="utf-8")
    train.run(params, paths, SilentLog())
    evaluate.run(params, paths, SilentLog())
    if "test" in parts:
        unseal(params, paths)
    (root / "done").write_text(json.dumps(raw), encoding="utf-8")


def sampled(file: Path, truth: str, k: int) -> tuple[Mapping[str, Sampled], Resamples]:
    """Scores of every method on resampled blocks, the same for each variant."""
    table = pd.read_parquet(file)
    table = table[(table["method"] != "network_member") & (table["truth"] == truth)]
    resamples = Resamples.draw(sorted(table["block"].unique().tolist()), 2000, 0.95, generator(0, "gewata"))
    by_method = {}
    for method, rows in table.groupby("method"):
        blocks = {}
        for block, part in rows.groupby("block"):
            matrix = np.zeros((k, k), dtype=np.int64)
            np.add.at(matrix, (part["true"].to_numpy(), part["predicted"].to_numpy()), part["count"].to_numpy())
            blocks[int(block)] = Confusion(matrix)
        by_method[str(method)] = sample_scores(blocks, [str(i) for i in range(k)], resamples)
    return by_method, resamples


def _text(found: Mapping[str, Any] | Estimate, signed: bool = False) -> str:
    values = vars(found) if isinstance(found, Estimate) else found
    form = "+.3f" if signed else ".3f"
    return f"{values['value']:{form}} ({values['low']:{form}} to {values['high']:{form}})"


def _cells(found: Mapping[str, Any], signed: bool = False) -> str:
    return " | ".join(_text(found[score], signed) for score in SCORES)


def table(work: Path, part: str, report: str) -> str:
    """One part's Markdown table."""
    lines = [f"{part}:", "", f"| variant | {' | '.join(SCORES)} | mean over seeds (t-interval) |", "|---|---|---|---|"]
    found = {}
    for name in VARIANTS:
        folder = Paths(work / name.replace(" ", "-")).report(report)
        if not (folder / "metrics.json").exists():
            continue
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        truth = metrics["truths"][metrics["headline"]]
        over = metrics.get("spread", {}).get(metrics["headline"], {}).get("over_seeds", {})
        seeds = "; ".join(f"{score} {over[score]['mean']:.3f} ({over[score]['low']:.3f} to {over[score]['high']:.3f})"
                          for score in SCORES if score in over)
        lines.append(f"| {name}, ensemble | {_cells(truth['network'])} | {seeds} |")
        if name == "recipe":
            lines.append(f"| boosting, focal features | {_cells(truth['boosting_focal'])} | |")
        found[name] = sampled(folder / "confusions.parquet", metrics["headline"], len(metrics["classes"]))
    if "recipe" in found:
        methods, resamples = found["recipe"]
        lines += ["", "| paired difference | " + " | ".join(SCORES) + " |", "|---|---|---|"]
        for name, (others, _) in found.items():
            if name != "recipe":
                d = differences(others["network"], methods["network"], resamples)
                lines.append(f"| {name} minus recipe | {_cells(d, True)} |")
        d = differences(methods["network"], methods["boosting_focal"], resamples)
        lines.append(f"| recipe minus boosting with focal features | {_cells(d, True)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--unseal", action="store_true")
    options = parser.parse_args()
    work, parts = options.work.resolve(), ["val", "test"] if options.unseal else ["val"]
    data = work / "base"
    inputs = options.inputs.resolve()
    if not (data / "data/splits").is_dir():
        (data / "inputs").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(inputs / "image.tif", data / "inputs/scene.tif")
        shutil.copyfile(inputs / "lulc_polygons.gpkg", data / "inputs/labels.gpkg")
        os.chdir(data)
        for stage in (acquire, refine_labels, rasterize, spatial_split):
            run: Callable[..., Any] = stage.run
            run(Params(params_of({}, options.epochs, [])), Paths(data), SilentLog())
    for name in options.only:
        root, raw = work / name.replace(" ", "-"), params_of(VARIANTS[name], options.epochs, options.seeds)
        if (root / "done").exists() and json.loads((root / "done").read_text(encoding="utf-8")) == raw:
            print(f"{name}: done before", flush=True)
            continue
        began = time.perf_counter()
        run_variant(root, data, raw, parts)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    text = "\n".join(table(work, part, report) for part, report in (("val", "evaluate"), ("test", "unseal"))
                     if part in parts)
    (work / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
