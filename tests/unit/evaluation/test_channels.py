"""A network that sees channels is scored on the channels of its own recipe."""

from pathlib import Path

import numpy as np
import torch

from pipeline.evaluation.part import score_part
from pipeline.features.channels import ChannelRecipe
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.sources import ChannelPixels, StorePixels
from pipeline.networks.members import load_member, save_member
from pipeline.networks.segmenter import build
from pipeline.networks.spec import ModelSpec
from pipeline.params.evaluate import TileParams
from pipeline.params.load import Params
from pipeline.params.task import TextureParams
from pipeline.scenes.store import SceneStore
from tests.unit.evaluation.small_store import BANDS, CHEAP, RedPredictor, params, write_checkpoint, write_store
from tests.unit.inference.whole_maps import class_bands

CHANNELS = ("NDVI", "glcm_energy_nir", "red")


def test_a_given_predictor_gets_the_task_s_channels(tmp_path: Path) -> None:
    paths, plain = write_store(tmp_path), params(baselines=CHEAP)
    seen = RedPredictor()
    seen.bands = CHANNELS  # red is the third of both, so the maps must be the same
    task = {**plain.raw["task"], "channels": list(CHANNELS)}
    scores = score_part(Params({**plain.raw, "task": task}), paths, "val", seen)
    assert scores.confusions.equals(score_part(plain, paths, "val", RedPredictor()).confusions)
    assert scores.metrics["truths"]["reference"]["network"]["mcc"]["value"] > 0.9


def test_a_checkpoint_brings_its_recipe(tmp_path: Path) -> None:
    paths = write_store(tmp_path)
    write_checkpoint(paths)
    folder = paths.checkpoint / "members/0"
    recipe = ChannelRecipe.named(BANDS, CHANNELS, TextureParams(levels=8), 10000.0)
    changed = load_member(folder).spec.model_dump() | {
        "channels": CHANNELS, "texture": recipe.texture, "mean": (0, 0.5, 2000), "std": (0.3, 0.2, 900),
        "low": (-1, 0, 0), "high": (1, 1, 10000)}
    torch.manual_seed(0)
    save_member(folder, build(ModelSpec.model_validate(changed)), "epoch\n")
    (view,) = score_part(params(baselines=CHEAP), paths, "val").views
    pixels = ChannelPixels(StorePixels(SceneStore.open(paths.scenes).scenes[0]), recipe)
    bands = class_bands(NetworkPredictor.load(paths.checkpoint), pixels, TileParams(size_px=32, overlap_px=8))
    assert (view.predicted_HW == np.concatenate([classes for _, classes in bands])).all()
    assert len(np.unique(view.predicted_HW)) > 2
