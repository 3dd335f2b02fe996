"""The glacier recipe beside the naive set-up and beside itself with one part left out, on the same images and folds.

    python -m tests.benchmarks.compare_glacier --work FOLDER [--data FOLDER] [--only NAME ...] [--folds 1]
        [--epochs N] [--minutes M] [--threads 2] [--list]

Everything lies below --work and is kept: data sets (stages acquire to spatial_split), two pretrainings, and a folder
a variant with its params.yaml, models and reports. Run again after a kill, it goes on: a finished step leaves
done-<stage>.json with the digests of its params, code and input data, is skipped where these are the same, and runs
anew, with all after it, where they are not; a killed training resumes. --data names a folder whose data/ already holds
the recipe's own images. --folds 1 trains only the member of the first val fold. --epochs shortens (or lengthens)
every fine-tuning alike. --minutes starts nothing that would, by the longest variant so far, end later. Set
KUMULUS_PROCESSES=2 for the data sets.

Writes table.md and table.json, of every variant that is finished in the folder (also by an earlier call, with other
options): MCC, macro IoU, and for each class IoU, precision, recall and one-vs-rest MCC, lakes as objects found and
false, all of the held-out images (each scored by the member that did not see it), with 95 % intervals that resample
images; and each variant's paired difference to the recipe on the same resamples. Each row has its epochs, folds and the
digest of its params, code and data; one whose code, data, folds or epochs are not the recipe's (but for "twice as
long") is marked and has no difference. The naive set-up's warm restarts end a cycle with the last epoch when epochs are
48 (16 + 32).
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from pipeline.digests import CODE_ROOT, canonical_sha256, file_sha256, folder_sha256, stage_code, stage_params
from pipeline.metrics.bootstrap import Estimate, Resamples, Sampled, differences, estimates, sample_scores
from pipeline.metrics.confusion import Confusion
from pipeline.params.load import load, parse
from pipeline.params.recipes import overlay
from pipeline.paths import Paths, write_json
from pipeline.seeding import generator
from pipeline.types import SilentLog

DATA_STAGES = ("acquire", "refine_labels", "rasterize", "spatial_split")
SHIFTED, UNSHIFTED, NONE = "pretrain-shifted", "pretrain-unshifted", ""
BANDS = ["blue", "green", "red", "swir", "thermal"]
PLAIN_SAMPLING = {"name": "random"}
RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Variant:
    """Changes to the recipe: dotted key -> value, taken whole; and the pretraining it starts from."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    start: str = SHIFTED
    #: Times as many epochs as the recipe.
    longer: int = 1


VARIANTS = (
    Variant("recipe", {"evaluate.baselines.boosting": True, "evaluate.tta": "d4"}),
    # The set-up of a first try, with the same channels, network and augmentation.
    Variant("naive", {
        "train.network.boundary_head": False,
        "train.patches.sampling": {"name": "image"},
        "train.loss": {"weights": {"cross_entropy": 1.0, "dice": 1.0}, "class_weights": "none"},
        "train.schedule": {"name": "restarts", "warmup_epochs": 0, "restart_epochs": 16, "restart_growth": 2},
    }, NONE),
    Variant("no pretraining", {}, NONE),
    Variant("unshifted pretraining", {}, UNSHIFTED),
    Variant("no balanced sampler", {"train.patches.sampling": PLAIN_SAMPLING}),
    Variant("no MCC term", {
        "train.loss.weights": {"cross_entropy": 0.0, "focal": 0.385, "dice": 0.385, "mcc": 0.0, "boundary": 0.23},
        "train.loss.ramp.terms": ["boundary"],
    }),
    Variant("no attention", {"train.network.decoder_attention": "none"}),
    Variant("no GLCM", {"task.channels": BANDS, "task.texture": {}}),
    Variant("no boundary", {
        "train.network.boundary_head": False,
        "train.loss.weights": {"cross_entropy": 0.0, "focal": 0.294, "dice": 0.294, "mcc": 0.412, "boundary": 0.0},
        "train.loss.boundary": {},
        "train.loss.ramp.terms": ["mcc"],
    }),
    Variant("no augmentation but flips", {"train.patches.augmentation": {}}),
    Variant("prior-adjusted logits", {"train.calibration.prior": True}),
    Variant("random sampling, inverse_sqrt class weights", {
        "train.patches.sampling": PLAIN_SAMPLING,
        "train.loss.class_weights": "inverse_sqrt",
    }),
    Variant("patches of 64 px", {"train.patches.size_px": 64, "train.patches.per_epoch": 256, "train.batch_size": 32}),
    Variant("lakes weigh no more", {"train.loss.focal.alpha": {}}),
    Variant("twice as long", longer=2),
)


def recipe_params(recipe: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """params.yaml with a recipe and changes laid over it, validated."""
    text, _ = overlay((CODE_ROOT / "params.yaml").read_text(encoding="utf-8"),
                      (CODE_ROOT / f"recipes/{recipe}.yaml").read_text(encoding="utf-8"))
    plain: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = plain
        for name in sections:
            place = place.setdefault(name, {})
        place[last] = value
    parse(json.dumps(plain))
    return plain


def write_params(root: Path, plain: Mapping[str, Any]) -> None:
    """Write params.yaml (JSON is YAML)."""
    root.mkdir(parents=True, exist_ok=True)
    (root / plain["acquire"].get("inputs", "inputs")).mkdir(exist_ok=True)
    (root / "params.yaml").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def identity_of(root: Path, stage: str) -> dict[str, str]:
    """What a stage's result in a folder depends on, as digests: its own params, its code, and what it reads."""
    paths = Paths(root)
    params = load(paths.params_file).dump()
    found = {"params": canonical_sha256(stage_params(CODE_ROOT, stage, params)),
             "code": canonical_sha256(stage_code(CODE_ROOT, stage))}
    reads = {"train": (paths.scenes, paths.splits), "evaluate": (paths.scenes, paths.splits, paths.checkpoint)}
    for folder in reads.get(stage, ()):
        found[folder.name] = folder_sha256(folder) if folder.is_dir() else ""
    return found


def marker_of(root: Path, stage: str) -> Path:
    """Where a finished stage's identity is written."""
    return root / f"done-{stage}.json"


def is_done(root: Path, stage: str, *results: Path) -> bool:
    """Whether a stage has finished with the params, code and input data of now, and its results are there."""
    marker = marker_of(root, stage)
    there = marker.exists() and all(result.exists() for result in results)
    return there and bool(json.loads(marker.read_text(encoding="utf-8")) == identity_of(root, stage))


def run_stage(root: Path, stage: str) -> float:
    """Run a stage on a folder in a process of its own and mark it as finished; seconds it took."""
    started, marker = time.perf_counter(), marker_of(root, stage)
    marker.unlink(missing_ok=True)
    identity = identity_of(root, stage)  # of the beginning: code is read then
    command = [sys.executable, "-m", "tests.benchmarks.compare_glacier", "--stage", stage, "--work", str(root)]
    subprocess.run(command, cwd=CODE_ROOT, check=True)
    write_json(marker, identity)
    return time.perf_counter() - started


def stage_in_process(root: Path, stage: str) -> None:
    """What the child process does: the stage without MLflow."""
    import importlib

    paths = Paths(root.resolve())
    importlib.import_module(f"stages.{stage}").run(load(paths.params_file), paths, SilentLog())


def make_data(root: Path, plain: Mapping[str, Any]) -> Path:
    """The folder with the images of a recipe, split; made where it is not there yet."""
    write_params(root, {**plain, "train": {}})
    paths, fresh = Paths(root), True
    for stage, result in zip(DATA_STAGES, (paths.raw, paths.labels, paths.scenes, paths.splits), strict=True):
        fresh = fresh and is_done(root, stage, result)
        if not fresh:  # what comes after an old step is old too
            print(f"  {root.name}: {stage} {run_stage(root, stage):.0f} s", flush=True)
    return root


def link_data(root: Path, data: Path) -> None:
    """Let a folder use the data of another, and of no third."""
    link, target = root / "data", (data / "data").resolve()
    if link.is_symlink() and link.resolve() != target:
        link.unlink()
    if not link.is_symlink():
        link.symlink_to(target, target_is_directory=True)


def pretrain(work: Path, name: str, threads: int) -> Path:
    """The checkpoint of a pretraining, made where it is not there yet."""
    domain = {SHIFTED: "shifted", UNSHIFTED: "target"}[name]
    plain = recipe_params("glacier-pretrain", {"acquire.synthetic.domain": domain, "train.threads": threads})
    data = make_data(work / "data" / name, plain)
    root = work / "pretrained" / name
    write_params(root, plain)
    link_data(root, data)
    if not is_done(root, "train", Paths(root).run_file, Paths(root).checkpoint):
        print(f"  {name}: train {run_stage(root, 'train'):.0f} s", flush=True)
    return Paths(root).checkpoint


def variant_params(variant: Variant, options: argparse.Namespace, start: Path | None) -> dict[str, Any]:
    """The whole params.yaml of a variant."""
    changes: dict[str, Any] = {"train.threads": options.threads, "evaluate.tta": "none",
                               "evaluate.baselines.boosting": False, "evaluate.baselines.boosting_focal": False}
    if options.folds == 1:
        changes["train.folds"] = 1
    changes["train.epochs"] = variant.longer * (options.epochs or recipe_params("glacier", {})["train"]["epochs"])
    changes |= variant.changes
    if start is not None:
        weights = start / "members/0/weights.safetensors"
        changes |= {"train.warm_start": {"uri": str((start / "members/0").resolve()), "sha256": file_sha256(weights)}}
    return recipe_params("glacier", changes)


def folder_of(work: Path, variant: Variant) -> Path:
    """Where a variant is run."""
    return work / "variants" / variant.name.replace(" ", "-").replace(",", "")


def run_variant(variant: Variant, work: Path, data: Path, options: argparse.Namespace) -> Path:
    """Train and evaluate a variant unless that is done; its folder."""
    start = pretrain(work, variant.start, options.threads) if variant.start else None
    root = folder_of(work, variant)
    write_params(root, variant_params(variant, options, start))
    link_data(root, data)
    paths = Paths(root)
    if not is_done(root, "train", paths.run_file, paths.checkpoint):
        marker_of(root, "evaluate").unlink(missing_ok=True)
        print(f"{variant.name}: train {run_stage(root, 'train'):.0f} s", flush=True)
    if is_done(root, "evaluate", paths.report("evaluate") / "metrics.json"):
        print(f"{variant.name}: done before", flush=True)
    else:
        print(f"{variant.name}: evaluate {run_stage(root, 'evaluate'):.0f} s", flush=True)
    return root


def finished(root: Path) -> bool:
    """Whether a folder has a result whose evaluation ended, whatever code and params it was made with."""
    return all(marker_of(root, stage).exists() for stage in ("train", "evaluate"))


def made_with(root: Path) -> dict[str, Any]:
    """What a finished result was made with: epochs, folds, and digests of its params, code and data."""
    marks = {stage: json.loads(marker_of(root, stage).read_text(encoding="utf-8")) for stage in ("train", "evaluate")}
    train = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text(encoding="utf-8"))["train"]
    code, data = ([mark[key] for mark in marks.values() for key in keys] for keys in (("code",), ("scenes", "splits")))
    return {"epochs": train["epochs"], "folds": train["folds"], "digest": canonical_sha256(marks)[:12],
            "code": canonical_sha256(code)[:12], "data": canonical_sha256(data)[:12]}


def apart(name: str, made: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """In what, beside its own change, a variant's result differs from the recipe's, so that they cannot be compared."""
    longer = next(variant.longer for variant in VARIANTS if variant.name == name)
    wanted = {**recipe, "epochs": longer * recipe["epochs"]}
    return [key for key in ("epochs", "folds", "code", "data") if made[key] != wanted[key]]


@dataclass(frozen=True)
class Scored:
    """A variant's scores on all resamples, by method, and its metrics.json."""

    metrics: Mapping[str, Any]
    by_method: Mapping[str, Sampled]
    resamples: Resamples
    made: Mapping[str, Any]


def read_scores(root: Path) -> Scored:
    """Scores of the network (and what else was scored) against the independent reference, resampling images."""
    folder = Paths(root).report("evaluate")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    table = pd.read_parquet(folder / "confusions.parquet")
    table = table[table["truth"] == metrics["headline"]]
    classes, blocks = metrics["classes"], sorted(table["block"].unique().tolist())
    resamples = Resamples.draw(blocks, RESAMPLES, CONFIDENCE, generator(0, "compare", "glacier"))
    by_method = {}
    for name, part in table.groupby("method"):
        if name != "network_member":
            confusions = {int(block): _confusion(rows, len(classes)) for block, rows in part.groupby("block")}
            by_method[str(name)] = sample_scores(confusions, classes, resamples)
    return Scored(metrics, by_method, resamples, made_with(root))


def _confusion(rows: pd.DataFrame, k: int) -> Confusion:
    summed = rows.groupby(["true", "predicted"])["count"].sum()
    matrix = [[int(summed.get((t, p), 0)) for p in range(k)] for t in range(k)]
    return Confusion(np.array(matrix, dtype=np.int64))


def _text(estimate: Estimate, signed: bool = False) -> str:
    if math.isnan(estimate.value):
        return "-"
    form = "+.3f" if signed else ".3f"
    around = "" if math.isnan(estimate.low) else f" ({estimate.low:{form}} to {estimate.high:{form}})"
    return f"{estimate.value:{form}}{around}"


def rows_of(name: str, scored: Scored, recipe: Scored | None) -> list[dict[str, Any]]:
    """One row of results for each method that was scored in a variant's folder."""
    rows = []
    for method, sampled in scored.by_method.items():
        if method == "majority":
            continue
        label = name if method == "network" else f"{name}: {method}"
        found = estimates(sampled, scored.resamples)
        row: dict[str, Any] = {"name": label, "scores": {key: vars(value) for key, value in found.items()},
                               **scored.made, "apart": apart(name, scored.made, recipe.made) if recipe else []}
        lakes = scored.metrics["objects"].get("lake", {}).get(method)
        row["lakes"] = lakes
        comparable = recipe is not None and recipe.resamples.blocks == scored.resamples.blocks and not row["apart"]
        if comparable and recipe is not None and label != "recipe":
            paired = differences(sampled, recipe.by_method["network"], recipe.resamples)
            row["minus_recipe"] = {key: vars(value) for key, value in paired.items()}
        rows.append(row)
    return rows


def markdown(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Three tables: whole maps and lakes as objects, differences to the recipe, and classes."""
    lines = ["| variant | epochs, folds, digest | MCC | macro IoU | lakes found of, false | lake object F1 |",
             "|---" * 6 + "|"]
    for row in rows:
        s, lakes = row["scores"], row["lakes"]
        objects = f"{lakes['found']} of {lakes['truth']}, {lakes['false']}" if lakes else "-"
        shown = lakes["intervals"]["f1"] if lakes else dict.fromkeys(("value", "low", "high"))
        f1 = _text(Estimate(**{key: math.nan if value is None else value for key, value in shown.items()}))
        made = f"{row['epochs']}, {row['folds']}, {row['digest']}"
        if row["apart"]:
            made += f" (not comparable with the recipe: other {', '.join(row['apart'])})"
        lines.append(f"| {row['name']} | {made} | {_text(Estimate(**s['mcc']))} | "
                     f"{_text(Estimate(**s['macro_iou']))} | {objects} | {f1} |")
    keys = ["mcc", "macro_iou", *(f"f1.{name}" for name in classes[1:])]
    lines += ["", "Minus the recipe, on the same resampled images:", "",
              "| variant | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for row in rows:
        if "minus_recipe" in row:
            cells = [_text(Estimate(**row["minus_recipe"][key]), signed=True) for key in keys]
            lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    lines += ["", "| variant | class | IoU | precision | recall | F1 | one-vs-rest MCC |", "|---" * 7 + "|"]
    for row in rows:
        for name in classes:
            cells = [_text(Estimate(**row["scores"][f"{score}.{name}"]))
                     for score in ("iou", "precision", "recall", "f1", "class_mcc")]
            lines.append(f"| {row['name']} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_tables(work: Path, roots: Mapping[str, Path]) -> None:
    """table.md and table.json of those variants that are finished."""
    scored = {name: read_scores(root) for name, root in roots.items() if finished(root)}
    recipe = scored.get("recipe")
    rows = [row for name, one in scored.items() for row in rows_of(name, one, recipe)]
    classes = next(iter(scored.values())).metrics["classes"]
    (work / "table.md").write_text(markdown(rows, classes), encoding="utf-8")
    plain = json.loads(json.dumps(rows), parse_constant=lambda _: None)
    write_json(work / "table.json", {"classes": classes, "rows": plain})


def compare(options: argparse.Namespace) -> None:
    """Run what is asked for and write the tables after each variant."""
    chosen = [v for v in VARIANTS if not options.only or v.name in options.only]
    work, began, longest = options.work.resolve(), time.perf_counter(), 0.0
    data = options.data.resolve() if options.data else make_data(work / "data/target", recipe_params("glacier", {}))
    waiting = {variant.name for variant in chosen}
    for number, variant in enumerate(chosen):
        started = time.perf_counter()
        if options.minutes and started - began + longest > 60 * options.minutes:
            print(f"{variant.name}: left out, it would end after {options.minutes} minutes", flush=True)
            continue
        run_variant(variant, work, data, options)
        waiting.remove(variant.name)
        longest = max(longest, time.perf_counter() - started)
        write_tables(work, {v.name: folder_of(work, v) for v in VARIANTS if v.name not in waiting})
        left = len(chosen) - number - 1
        print(f"{number + 1} of {len(chosen)} done, {(time.perf_counter() - began) / 60:.0f} min; "
              f"about {left * longest / 60:.0f} min left", flush=True)
    print((work / "table.md").read_text(encoding="utf-8") if (work / "table.md").exists() else "nothing is finished")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("compare-glacier"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", default=[], choices=[v.name for v in VARIANTS])
    parser.add_argument("--folds", type=int, default=5, choices=(1, 5))
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--stage", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        print("\n".join(v.name for v in VARIANTS))
    elif options.stage:
        stage_in_process(options.work, options.stage)
    else:
        compare(options)


if __name__ == "__main__":
    main()
