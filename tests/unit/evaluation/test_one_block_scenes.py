"""Scenes that are one block each and so one fold each, as small images are."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine

from pipeline.evaluation.part import score_part
from pipeline.features.channels import ChannelRecipe
from pipeline.geo.grid import Grid
from pipeline.geo.raster_io import write
from pipeline.inference.network import NetworkPredictor
from pipeline.inference.validation import ValScorer
from pipeline.paths import Paths
from pipeline.scenes.store import SceneStore
from pipeline.splits.split import Split
from pipeline.types import TEST_FOLD
from tests.unit.evaluation.small_store import BANDS, CHEAP, CLASSES, grid, params, write_checkpoint, write_store

FOLDS = {"a": 0, "b": 1, "c": 2, "d": 0, "e": TEST_FOLD}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = write_store(tmp_path, tuple(FOLDS))
    for number, (scene, fold) in enumerate(FOLDS.items(), 1):
        ground = 2 if fold in (1, 2) else 0
        for name, value, dtype in (("fold", fold, np.uint8), ("block", number, np.int32), ("ground", ground, np.uint8)):
            apart = Grid(grid().crs_wkt, Affine.translation(100_000 * number, 0) @ grid().transform, 96, 96)
            write(paths.splits / scene / f"{name}.tif", np.full((96, 96), value, dtype), apart, [name])
    return paths


def test_a_scene_is_predicted_by_the_members_that_held_it_out_only(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(paths, pairs=[(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)])
    passes: Counter[int] = Counter()

    def counted(self: NetworkPredictor, place: int, image_NCHW: np.ndarray) -> np.ndarray:
        passes[place] += 1
        return np.moveaxis(np.eye(4, dtype=np.float32)[np.full(image_NCHW.shape[:1] + image_NCHW.shape[2:], place % 3)],
                           -1, 1)

    monkeypatch.setattr(NetworkPredictor, "of", counted)
    scores = score_part(params(baselines=CHEAP), paths, "val")
    tiles = 4 * 4  # of 32 px with 8 px overlap in 96 px
    assert passes == {0: 2 * tiles, 3: 2 * tiles, 1: tiles, 4: tiles, 2: tiles, 5: tiles}
    assert [view.ground.scene.id for view in scores.views] == ["a", "b", "c", "d"]
    rows = scores.confusions[scores.confusions["method"] == "network"]
    assert {(s, p) for s, p in zip(rows["scene"], rows["predicted"], strict=True)} == {
        ("a", 0), ("b", 1), ("c", 2), ("d", 0)}
    assert scores.metrics["truths"]["reference"]["blocks"] == 4
    assert set(scores.metrics["spread"]["reference"]["by_fold"]) == {"0", "1", "2"}


class RedRule(torch.nn.Module):
    """Reads the class off the red band."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        red = torch.nan_to_num(image[:, 2]) * self.scale
        return torch.stack([-(red - 1000 * i - 1000).abs() for i in range(4)], dim=1)

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits, dim=1)


def test_val_scores_during_training_see_the_whole_val_scenes(paths: Paths) -> None:
    recipe = ChannelRecipe.named(BANDS, BANDS, None, 1e4)
    store, split = SceneStore.open(paths.scenes), Split.open(paths.splits)
    seen: list[tuple[int, ...]] = []

    class Shapes(RedRule):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(image.shape))
            return super().forward(image)

    scores = ValScorer(store, split, recipe, 8, 16)(Shapes())  # type: ignore[arg-type]
    assert scores == pytest.approx({"mcc": 1, "macro_iou": 1, **{f"iou_{name}": 1 for name in CLASSES}})
    assert sum(shape[0] for shape in seen) == 2
    assert {shape[1:] for shape in seen} == {(4, 112, 112)}
