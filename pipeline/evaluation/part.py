"""Score one part: stitch the network's map, apply the baselines to the same pixels, count, summarise.

The test part is sealed: it is scored for `pipeline.evaluation.seal.unseal` only, which holds the permit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.baselines.baseline import Baseline
from pipeline.baselines.methods import build
from pipeline.digests import folder_sha256
from pipeline.errors import ModelError, SealError, SplitError
from pipeline.evaluation.permit import Permit
from pipeline.evaluation.summary import NETWORK, headline_scores, summarise
from pipeline.evaluation.tally import Method, Tally
from pipeline.evaluation.truths import Ground, ScoredPart, headline_of, open_ground
from pipeline.features.channels import ChannelRecipe
from pipeline.geo.scratch import scratch_array
from pipeline.inference.mosaic import class_bands
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.params.evaluate import EvaluateParams
from pipeline.params.load import Params
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
    networks, recipe = _networks(paths, split, task, predictor)
    for network in networks.values():
        if tuple(network.classes) != split.classes:
            raise ModelError(f"the model's classes must be the split's {list(split.classes)}: got "
                             f"{list(network.classes)}; run `dvc repro train`")
    baselines = build(evaluate.baselines, task, store, split, params.seed)
    ids = {name: int(split.lut[store.classes.index(name)]) for name in evaluate.object_classes}
    grounds = _grounds(store, split, part)
    headline = headline_of(grounds)
    tally = Tally(split.classes, headline, {split.classes[i]: i for i in ids.values()}, evaluate.object_iou,
                  split.place_of_block)
    views = []
    for ground in grounds:
        for method, network in networks.items():
            bands = class_bands(network, ChannelPixels(StorePixels(ground.scene), recipe), evaluate.tiles)
            if method[0] == NETWORK:
                map_HW = scratch_array(ground.scene.grid.shape, np.uint8, paths.root)
                bands = _kept(bands, map_HW)
                views.append(SceneView(ground, map_HW))
            tally.add(ground, method, bands)
        for name, baseline in baselines.items():
            tally.add(ground, (name, 0), _baseline_bands(baseline, ground))
    zones = {k: v for scene in store for k, v in scene.strata.items()}
    metrics = {"part": part, "classes": list(split.classes), "unsupported": list(split.unsupported),
               "headline": headline, **summarise(tally, part, evaluate.bootstrap, params.seed, zones)}
    by_name = {c.name: c.color for c in task.classes}
    return PartScores(part, split.classes, tuple(by_name[name] for name in split.classes), headline, metrics,
                      tally.table(part), tuple(views))


def _kept(bands: Iterator[tuple[Window, UInt8Array]], map_HW: UInt8Array) -> Iterator[tuple[Window, UInt8Array]]:
    """The bands, put into a map of the whole scene in passing."""
    for window, classes in bands:
        map_HW[window.slices] = classes
        yield window, classes


def _baseline_bands(baseline: Baseline, ground: Ground) -> Iterator[tuple[Window, UInt8Array]]:
    for window in ground.bands():
        yield window, baseline.predict(ground.scene, window, ground.cut(*window.slices).scored_HW)


def _networks(paths: Paths, split: Split, task: Task,
              predictor: Predictor | None) -> tuple[dict[Method, Predictor], ChannelRecipe]:
    """The predictor that is exported and, where it is an ensemble, each of its members; and their input channels."""
    if predictor is not None:
        return {(NETWORK, 0): predictor}, ChannelRecipe.of(task)
    from pipeline.inference.network import NetworkPredictor
    from pipeline.networks.members import load_member, member_folders

    folders = member_folders(paths.checkpoint)
    members = {int(folder.name): load_member(folder) for folder in folders}
    held_out = folder_sha256(split.folder)
    if strangers := [f"members/{i}" for i, member in members.items() if member.spec.split != held_out]:
        raise ModelError(f"a model must be scored on the split it was trained with: {strangers} of {paths.checkpoint} "
                         "were trained with another, so held-out ground may be known to them; run `dvc repro train`")
    whole = NetworkPredictor(list(members.values()))
    if len(members) == 1:
        return {(NETWORK, 0): whole}, whole.recipe
    single = {("network_member", i): NetworkPredictor([member]) for i, member in members.items()}
    return {(NETWORK, -1): whole, **single}, whole.recipe


def _grounds(store: SceneStore, split: Split, part: ScoredPart) -> list[Ground]:
    """The scored side of every scene that has one."""
    grounds = [open_ground(scene, split, part) for scene in store]
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
