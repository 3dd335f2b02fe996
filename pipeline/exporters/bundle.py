"""Everything of models/export but its two statements: model, maps, polygons and card, each checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import IntegrityError
from pipeline.exporters import checks
from pipeline.exporters.model_card import CardFacts, write_card
from pipeline.exporters.onnx_model import check_parity, export_onnx, parity_windows
from pipeline.exporters.polygons import write_polygons
from pipeline.exporters.scene_maps import write_scene_maps
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.onnx_predictor import ModelFacts
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.networks.members import load_member, member_folders
from pipeline.params.evaluate import TileParams
from pipeline.params.export import ExportParams
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.tracking.names import PROVENANCE_TAG

#: Scenes whose windows the parity check runs on.
_PARITY_SCENES = 4


@dataclass(frozen=True)
class Bundle:
    """What was written: the model's facts, its parity with torch, and class shares by scene."""

    facts: ModelFacts
    parity: float
    shares: Mapping[str, Mapping[str, float]]


def write_bundle(
    folder: Path, paths: Paths, settings: ExportParams, tiles: TileParams, provenance: str
) -> Bundle:
    """Write model.onnx, maps/, polygons.gpkg, polygons.parquet and model_card.md into `folder`, all with that digest.

    Raises:
        IntegrityError: a finished file fails a check, or evaluate's counts are missing.
        ModelError: there is no checkpoint, or its network has no ONNX form.
    """
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    members = {int(f.name): load_member(f) for f in member_folders(paths.checkpoint)}
    segmenters = list(members.values())
    facts = ModelFacts.of([s.spec for s in segmenters], provenance, tiles, settings.tta)
    recorded = _recorded(paths, settings, len(facts.classes))
    catalog, certificate = _json(paths.catalog), _json(paths.splits / "certificate.json")
    metrics = _json(paths.report("evaluate") / "metrics.json")
    checks.warn_unused(settings.class_shares, facts.classes)

    tta = settings.tta == "d4"
    export_onnx(folder / "model.onnx", segmenters, facts.to_metadata(), settings.opset, tta)
    windows = (
        image
        for scene in store.scenes[:_PARITY_SCENES]
        for image in parity_windows(
            ChannelPixels(StorePixels(scene), facts.recipe), segmenters[0].spec.patch_size_px, facts.size_multiple
        )
    )
    parity = check_parity(folder / "model.onnx", segmenters, windows, settings.parity_tolerance, tta)

    folds = [split.val_fold if s.spec.val_fold < 0 else s.spec.val_fold for s in segmenters]
    (folder / "maps").mkdir()
    made = write_scene_maps(
        folder / "maps", NetworkPredictor(segmenters), folds, facts, store, split, recorded
    )
    shares = made.shares
    for scene_id, by_class in shares.items():
        checks.check_shares(scene_id, by_class, settings.class_shares)
    write_polygons(
        folder / "polygons.gpkg", made.class_maps, facts.classes, facts.background, {PROVENANCE_TAG: provenance}
    )
    write_card(
        folder / "model_card.md",
        CardFacts(
            facts,
            {number: member.spec for number, member in members.items()},
            catalog,
            certificate,
            metrics,
            shares,
            parity,
            settings.registered_name,
        ),
    )
    return Bundle(facts, parity, shares)


def _recorded(paths: Paths, settings: ExportParams, k: int) -> checks.BlockConfusions:
    """Evaluate's counts of the network on val, with test-time augmentation if that is what leaves the project."""
    method = "network_tta" if settings.tta == "d4" else "network"
    table = _confusions(paths)
    if method == "network_tta" and not (table["method"] == method).any():
        raise IntegrityError(
            "export.tta: d4 must have been scored before it leaves the project: confusions.parquet has no "
            f"{method}; set evaluate.tta to d4 too, or export.tta to none"
        )
    return checks.recorded_confusions(table, "val", k, method)


def _confusions(paths: Paths) -> pd.DataFrame:
    file = paths.report("evaluate") / "confusions.parquet"
    if not file.is_file():
        raise IntegrityError(
            f"{file} must hold the counts that the maps must reproduce: not found; run `dvc repro evaluate`"
        )
    return pd.read_parquet(file)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise IntegrityError(f"{path} must be there for the model card: not found; run `dvc repro`")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data
