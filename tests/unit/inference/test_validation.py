"""Val scores are those of the val blocks' own pixels, each once."""

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.geo import raster_io
from pipeline.inference.validation import ValScorer
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import mcc
from pipeline.params.train import TrainParams


class PixelRule(torch.nn.Module):
    """Class by thresholds on the red band: needs no context, so block-wise and whole-scene prediction must agree."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, image):
        red = torch.nan_to_num(image[:, 2]) * self.scale
        return torch.stack([-(red - centre).abs() for centre in (1000, 1150, 3400)], dim=1)


def test_scores_equal_those_of_the_whole_val_mask(tiny_data):
    data = tiny_data()
    scene, split = data.store.scenes[0], data.split
    image = torch.from_numpy(np.moveaxis(scene.image.astype(np.float32), -1, 0).copy())[None]
    predicted = PixelRule()(image).argmax(dim=1)[0].numpy().astype(np.uint8)
    mask = split.mask(split.fold_map("one"), "val") & (scene.valid == 1)
    expected = Confusion.of(np.where(mask, scene.labels, 255).astype(np.uint8), predicted, 3)
    scores = ValScorer(data.store, split, context_px=10, multiple=16)(PixelRule())
    assert scores["mcc"] == mcc(expected)
    assert 0.5 < scores["mcc"] < 1
    assert set(scores) == {"mcc", "macro_iou", "iou_background", "iou_settlement", "iou_water"}


def test_a_monitor_that_val_cannot_define_is_refused_unless_it_has_no_say(tiny_data):
    data = tiny_data()
    labels = data.store.scenes[0].folder / "labels.tif"
    changed = raster_io.read(labels)
    changed[(data.split.fold_map("one") == 0) & (changed == 1)] = 0
    raster_io.write(labels, changed, data.store.scenes[0].grid, ["class"])
    scorer = ValScorer(data.store, data.split, 4, 8)
    scorer.check(TrainParams(monitor="mcc"))
    with pytest.raises(ModelError, match=r"iou:settlement must be defined on the val part: .*'background', 'water'"):
        scorer.check(TrainParams(monitor="iou:settlement"))
    scorer.check(TrainParams(monitor="iou:settlement", select="last"))


def test_test_pixels_have_no_say(tiny_data):
    clean, garbage = tiny_data("clean"), tiny_data("other")
    fold = clean.split.fold_map("one")
    labels = garbage.store.scenes[0].folder / "labels.tif"
    changed = raster_io.read(labels)
    changed[fold == 254] = 1
    raster_io.write(labels, changed, garbage.store.scenes[0].grid, ["class"])
    one, two = (ValScorer(d.store, d.split, 4, 8)(PixelRule()) for d in (clean, garbage))
    assert one == two
