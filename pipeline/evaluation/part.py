"""Score one part: stitch the network's map, apply the baselines to the same pixels, count, summarise.

The test part is sealed: it is scored for `pipeline.evaluation.seal.unseal` only, which holds the permit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import SealError, SplitError
from pipeline.evaluation.choice import together
from pipeline.evaluation.fitting import fitted
from pipeline.evaluation.gating import gate_table
from pipeline.evaluation.lineup import lineup
from pipeline.evaluation.permit import Permit
from pipeline.evaluation.summary import headline_scores, summarise
from pipeline.evaluation.tally import NETWORK, Method, Tally
from pipeline.evaluation.truths import Ground, ScoredPart, headline_of, open_ground
from pipeline.geo.scratch import scratch_array
from pipeline.params.evaluate import EvaluateParams
from pipeline.params.load import Params
from pipeline.params.targets import parse_targets
from pipeline.params.task import Task
from pipeline.paths import Paths, write_json
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import Predictor, UInt8Array, Window


@dataclass(frozen=True)
class SceneView:
    """What figures show of a scene: its ground (truths 255 where out of sight), the network's map (a scratch file)."""

    ground: Ground
    predicted_HW: UInt8Array


@dataclass(frozen=True)
class PartScores:
    """Scores of a part. `metrics` is metrics.json, `confusions` confusions.parquet; `colors` by class id."""

    part: ScoredPart
    classes: tuple[str, ...]
    colors: tuple[str, ...]
    headline: str
    metrics: dict[str, Any]
    confusions: pd.DataFrame
    views: tuple[SceneView, ...]


def score_part(params: Params, paths: Paths, part: ScoredPart, predictor: Predictor | None = None,
               permit: Permit | None = None) -> PartScores:
    """Score the network (all members of the checkpoint, or `predictor`) and the baselines on a part.

    Raises:
        SealError: the test part is asked for without a permit in force.
        SplitError: the part has no pixel with data, or none whose truth is known.
        ModelError: the predictor's classes are not the split's.
    """
    if part not in ("val", "test"):
        raise SplitError(f"only val (or, unsealed, test) must be scored: got {part!r}; evaluate scores val")
    if part == "test" and not (permit is not None and permit.in_force):
        raise SealError("the test part must stay sealed: it was asked for without an unsealing; "
                        "run `kumulus unseal`, which records the look")
    task, evaluate = params.section(Task), params.section(EvaluateParams)
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    shown = lineup(paths, split, task, part, params.seed, evaluate.tta == "d4", predictor)
    held_out = sorted({member.fold for member in shown.members})
    baselines = fitted(evaluate.baselines, task, store, split, params.seed, part, held_out, paths.scratch)
    ids = {name: int(split.lut[store.classes.index(name)]) for name in evaluate.object_classes}
    grounds = _grounds(store, split, part, shown.folds)
    headline = headline_of(grounds)
    tally = Tally(split.classes, headline, {split.classes[i]: i for i in ids.values()}, evaluate.object_iou,
                  split.place_of_block)
    views = []
    for ground in grounds:
        map_HW = scratch_array(ground.scene.grid.shape, np.uint8, paths.root)
        tally.add_each(ground, _kept(shown.bands(ground, evaluate.tiles), map_HW), shown.fold_of)
        views.append(SceneView(ground, map_HW))
        for name in baselines.names:
            tally.add(ground, (name, 0), baselines.bands(name, ground))
    zones = {k: v for scene in store for k, v in scene.strata.items()}
    summary = summarise(tally, part, evaluate.bootstrap, params.seed, zones, shown.members, shown.out_of_fold)
    metrics = {"part": part, "classes": list(split.classes), "unsupported": list(split.unsupported),
               "too_thin": _too_thin(split, shown.folds), "headline": headline,
               **({"val_chose": together(m.val_chose for m in shown.members)} if part == "val" else {}), **summary}
    if targets := parse_targets(evaluate.targets):
        metrics["gates"] = gate_table(metrics, targets, evaluate.bootstrap.confidence)
    by_name = {c.name: c.color for c in task.classes}
    return PartScores(part, split.classes, tuple(by_name[name] for name in split.classes), headline, metrics,
                      tally.table(part), tuple(views))


def _too_thin(split: Split, folds: tuple[int, ...]) -> dict[str, list[str]]:
    """Fold -> classes of which it holds too little to be a val part, of folds scored beside the certificate's."""
    return {str(fold): list(split.too_little[fold]) for fold in folds if split.too_little.get(fold)}


def _kept(bands: Iterator[tuple[Window, dict[Method, UInt8Array]]],
          map_HW: UInt8Array) -> Iterator[tuple[Window, dict[Method, UInt8Array]]]:
    """The bands, the network's put into a map of the whole scene in passing."""
    for window, maps in bands:
        map_HW[window.slices] = next(classes for method, classes in maps.items() if method[0] == NETWORK)
        yield window, maps


def _grounds(store: SceneStore, split: Split, part: ScoredPart, folds: tuple[int, ...]) -> list[Ground]:
    """The scored side of every scene that has one."""
    grounds = [open_ground(scene, split, part, folds) for scene in store]
    kept = [ground for ground in grounds if ground.scored]
    if not kept:
        raise SplitError(f"the {part} part must have pixels with data: got none in {len(store.scenes)} scenes; "
                         "run `dvc repro spatial_split` with another seed")
    return kept


def write_tables(scores: PartScores, folder: Path) -> None:
    """Write metrics.json, headline.json (what `dvc exp show` compares) and confusions.parquet."""
    for name, content in (("metrics", scores.metrics), ("headline", headline_scores(scores.metrics))):
        write_json(folder / f"{name}.json", content)
    scores.confusions.to_parquet(folder / "confusions.parquet", index=False)
