"""Val scores are those of the val blocks' own pixels, each once."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.geo import raster_io
from pipeline.inference import validation
from pipeline.inference.validation import ValScorer
from pipeline.metrics.confusion import Confusion
from pipeline.metrics.scores import mcc
from pipeline.params.task import TextureParams
from pipeline.params.train import TrainParams
from tests.unit.patches.samples import large_store

BANDS = ("blue", "green", "red", "nir")
PLAIN = ChannelRecipe.named(BANDS, BANDS, None, 1e4)


class Softmax(torch.nn.Module):
    """What a network's head makes of its logits."""

    def decode(self, logits):
        return torch.softmax(logits, dim=1)


class PixelRule(Softmax):
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
    scores = ValScorer(data.store, split, PLAIN, context_px=10, multiple=16)(PixelRule())
    assert scores["mcc"] == mcc(expected)
    assert 0.5 < scores["mcc"] < 1
    assert set(scores) == {"mcc", "macro_iou", "iou_background", "iou_settlement", "iou_water"}


@pytest.mark.parametrize(("name", "value"), [("_BAND_PIXELS", 3 * 128), ("_PIECE_PX", 13), ("_BATCH_PIXELS", 1)])
def test_bands_pieces_and_batches_change_no_score(tiny_data, monkeypatch, name, value):
    data = tiny_data()
    expected = ValScorer(data.store, data.split, PLAIN, 4, 8)(PixelRule())
    monkeypatch.setattr(validation, name, value)
    assert ValScorer(data.store, data.split, PLAIN, 4, 8)(PixelRule()) == expected


@pytest.mark.parametrize("pixels", [1, 3 * 24 * 24, 10**6])
def test_the_largest_batch_is_known_beforehand(tiny_data, monkeypatch, pixels):
    data, read = tiny_data(), []

    class Shapes(PixelRule):
        def forward(self, image):
            read.append((len(image), *image.shape[-2:]))
            return super().forward(image)

    monkeypatch.setattr(validation, "_PIECE_PX", 20)
    monkeypatch.setattr(validation, "_BATCH_PIXELS", pixels)
    scorer = ValScorer(data.store, data.split, PLAIN, 4, 8)
    scorer(Shapes())
    assert scorer.largest_NHW == max(read, key=math.prod)
    assert scorer.largest_NHW[0] <= max(1, pixels // (24 * 24))


def test_large_blocks_are_read_in_pieces(tiny_data, monkeypatch):
    data, read = tiny_data(), []

    class Shapes(PixelRule):
        def forward(self, image):
            read.append(tuple(image.shape[-2:]))
            return super().forward(image)

    monkeypatch.setattr(validation, "_PIECE_PX", 20)
    ValScorer(data.store, data.split, PLAIN, 4, 8)(Shapes())
    # Blocks of 32 pixels in halves of 16 with 4 pixels around.
    assert set(read) == {(24, 24)}


def test_memory_does_not_grow_with_the_scene(tmp_path):
    peaks = []
    for name, height, width in (("small", 1024, 1024), ("large", 2048, 4096)):
        store, split = large_store(tmp_path / name, height, width)
        tracemalloc.start()
        assert math.isfinite(ValScorer(store, split, PLAIN, 32, 16)(PixelRule())["mcc"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The larger scene has eight times the pixels; a byte for each of those it has more would be 7 MiB.
    assert peaks[1] < peaks[0] + 1_000_000, peaks


def test_channels_are_computed_for_the_network(tiny_data):
    data = tiny_data()
    channels = ("glcm_contrast_red", "NDVI", "red")
    recipe = ChannelRecipe.named(BANDS, channels, TextureParams(window_px=3), 1e4)
    assert ValScorer(data.store, data.split, recipe, 4, 8)(PixelRule()) == ValScorer(
        data.store, data.split, PLAIN, 4, 8)(PixelRule())  # both have red at the third place


def test_a_monitor_that_val_cannot_define_is_refused_unless_it_has_no_say(tiny_data):
    data = tiny_data()
    labels = data.store.scenes[0].folder / "labels.tif"
    changed = raster_io.read(labels)
    changed[(data.split.fold_map("one") == 0) & (changed == 1)] = 0
    raster_io.write(labels, changed, data.store.scenes[0].grid, ["class"])
    scorer = ValScorer(data.store, data.split, PLAIN, 4, 8)
    scorer.check(TrainParams(monitor="mcc"))
    with pytest.raises(ModelError, match=r"iou:settlement must be defined on the val part: .*'background', 'water'"):
        scorer.check(TrainParams(monitor="iou:settlement"))
    scorer.check(TrainParams(monitor="iou:settlement", select="last"))


class Surroundings(Softmax):
    """Class by the mean of the third channel in a window of 9 x 9 pixels: looks beyond a block's edge."""

    def __init__(self, centres=(1000, 2200, 3400)):
        super().__init__()
        self.scale, self.centres = torch.nn.Parameter(torch.ones(1)), centres

    def forward(self, image):
        known = torch.isfinite(image[:, 2:3])
        total, count = (torch.nn.functional.avg_pool2d(x, 9, 1, 4) for x in (torch.nan_to_num(image[:, 2:3]),
                                                                             known.float()))
        mean = (total / count.clamp(min=1e-3) * self.scale)[:, 0]
        return torch.stack([-(mean - centre).abs() for centre in self.centres], dim=1)


def with_test_garbage(data):
    """Image, labels and validity of test ground replaced by noise, and nothing else."""
    scene, rng = data.store.scenes[0], np.random.default_rng(5)
    test = data.split.fold_map("one") == 254
    for name, high, bands in (("image", 10_000, BANDS), ("labels", 3, ["class"]), ("valid", 2, ["valid"])):
        changed = raster_io.read(scene.folder / f"{name}.tif")
        changed[test] = rng.integers(0, high, changed[test].shape)
        raster_io.write(scene.folder / f"{name}.tif", changed, scene.grid, bands)
    return data


@pytest.mark.parametrize(("channels", "centres"), [
    (BANDS, (1000, 2200, 3400)), (("nir", "red", "NDVI"), (0.1, -0.4, -0.7)),
    (("nir", "red", "glcm_contrast_red"), (1.0, 5.0, 25.0))])
def test_test_ground_has_no_say_in_val_scores(tiny_data, channels, centres):
    recipe = ChannelRecipe.named(BANDS, channels, TextureParams(window_px=5), 1e4)
    clean, garbage = tiny_data("clean"), with_test_garbage(tiny_data("other"))
    assert (clean.store.scenes[0].image != garbage.store.scenes[0].image).any()
    one, two = (ValScorer(d.store, d.split, recipe, 8, 8)(Surroundings(centres)) for d in (clean, garbage))
    assert one == two
    assert 0 < one["macro_iou"] < 1


def test_train_ground_around_a_val_block_is_context(tiny_data):
    clean, garbage = tiny_data("clean"), tiny_data("other")
    scene = garbage.store.scenes[0]
    image = raster_io.read(scene.folder / "image.tif")
    image[garbage.split.mask(garbage.split.fold_map("one"), "train")] = 9000
    raster_io.write(scene.folder / "image.tif", image, scene.grid, BANDS)
    one, two = (ValScorer(d.store, d.split, PLAIN, 8, 8)(Surroundings()) for d in (clean, garbage))
    assert one != two
