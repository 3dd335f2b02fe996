"""Augmented patches: reproducible, blind to held-out ground, and exact in labels, weights and validity."""

import pickle
import random

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.features.channels import ChannelRecipe
from pipeline.params.augment import AugmentParams
from pipeline.patches.augment.mix import copy_paste, cutmix
from pipeline.patches.augment.pixels import Pixels, closed, opened
from pipeline.patches.augment.source import augmented, weight_shares
from pipeline.patches.augment.values import value_changes
from pipeline.patches.augment.warp import coordinates, warped
from pipeline.patches.batch import collate
from pipeline.patches.ground import open_ground
from pipeline.patches.loader import EpochBatches
from pipeline.patches.samplers import uniform_sampler
from pipeline.patches.source import Patch, WindowPatches
from pipeline.patches.statistics import raw_statistics
from pipeline.types import IGNORE_INDEX, Window
from tests.unit.patches.samples import BANDS, PLAIN, TEXTURE, digest, digest_of

CLASSES = ("background", "settlement", "water")
#: One of each kind, and all at once.
KINDS = {
    "affine": AugmentParams(shift=0.2, scale=0.5, rotate_deg=45),
    "elastic": AugmentParams(elastic_px=2, elastic_smooth_px=3),
    "grid": AugmentParams(grid_distortion=0.4),
    "brightness": AugmentParams(brightness=0.5, band_brightness=0.2, contrast=0.3),
    "gamma": AugmentParams(gamma=0.4),
    "noise": AugmentParams(noise=0.3),
    "dropout": AugmentParams(band_dropout=0.3),
    "cutmix": AugmentParams(cutmix=0.8),
    "copy_paste": AugmentParams(copy_paste=0.8, copy_paste_classes=("settlement",)),
}
ALL = AugmentParams(**{name: value for params in KINDS.values() for name, value in params.model_dump().items()
                       if value != AugmentParams.model_fields[name].default})


def source_of(data, params, recipe=PLAIN, seed=3, size=32):
    """Patches of a tiny store, as a training draws them."""
    grounds = open_ground(data.store, data.split)
    photometric = value_changes(params, BANDS, raw_statistics(grounds))
    windows = WindowPatches(grounds, recipe, uniform_sampler(grounds, size, seed, 8), seed, photometric)
    return augmented(windows, params, seed, CLASSES)


@pytest.mark.parametrize("recipe", [PLAIN, TEXTURE], ids=["plain", "texture"])
def test_garbage_in_held_out_ground_changes_no_augmented_patch(tiny_data, recipe):
    clean, garbage = tiny_data("clean"), tiny_data("garbage", held_out_garbage=1)

    def drawn(data, params):
        source = source_of(data, params, recipe)
        return [digest(source.draw(0, i)) for i in range(10)]

    kinds = {**KINDS, "all": ALL}
    found = {name: drawn(clean, params) for name, params in kinds.items()}
    assert found == {name: drawn(garbage, params) for name, params in kinds.items()}
    plain = drawn(clean, AugmentParams())
    assert [name for name, digests in found.items() if digests == plain] == []


def test_the_garbage_test_can_fail(tiny_data):
    """Values warped first and hidden after it do change: interpolation carries held-out ones over the border."""
    field = coordinates(KINDS["affine"], 32, np.random.default_rng(0))
    right, naive = [], []
    for name, garbage in (("clean", None), ("garbage", 1)):
        source = source_of(tiny_data(name, held_out_garbage=garbage), AugmentParams())
        patches = [source.draw(0, i) for i in range(12)]
        right.append([warped(opened(patch), field).image.tobytes() for patch in patches])
        naive.append([hidden_afterwards(patch, field) for patch in patches])
    assert right[0] == right[1]
    assert naive[0] != naive[1]


def hidden_afterwards(patch, field):
    """Bytes of a warped patch's values where the nearest pixel is visible."""
    everywhere, visible, weight = np.ones((32, 32), bool), opened(patch).visible, patch.weight
    values = warped(Pixels(patch.image.astype(np.float32), everywhere, patch.labels, weight), field).image
    nearest = warped(Pixels(values, everywhere, visible.astype(np.uint8), weight), field).labels
    return values[nearest == 1].tobytes()


@pytest.mark.parametrize("recipe", [PLAIN, TEXTURE], ids=["plain", "texture"])
def test_an_augmented_patch_depends_on_seed_epoch_and_index_only(tiny_data, recipe):
    data = tiny_data()
    first, second = source_of(data, ALL, recipe), source_of(data, ALL, recipe)
    for epoch, index in ((9, 9), (2, 700), (2, 0)):
        second.draw(epoch, index)
    random.seed(1)
    np.random.seed(1)
    assert digest(first.draw(2, 5)) == digest(second.draw(2, 5))
    assert digest(first.draw(2, 5)) == digest(pickle.loads(pickle.dumps(second)).draw(2, 5))
    others = {digest(p) for p in (first.draw(2, 6), first.draw(3, 5), source_of(data, ALL, recipe, 4).draw(2, 5))}
    assert len(others) == 3
    assert digest(first.draw(2, 5)) not in others


def test_workers_and_ranks_augment_the_same_bytes(tiny_data):
    source = source_of(tiny_data(), ALL)
    digests = []
    for workers in (0, 1):
        torch.manual_seed(11)
        state = torch.get_rng_state().tolist()
        digests.append([digest_of(*step) for step in EpochBatches(source, 8, 4, 2, workers=workers).epoch(1)])
        assert torch.get_rng_state().tolist() == state
    assert digests[0] == digests[1]
    ranks = [[digest_of(part) for step in EpochBatches(source, 8, 4, 1, r, 2).epoch(1) for part in step]
             for r in range(2)]
    whole = [[digest(*(source.draw(1, i) for i in range(start + r, start + 4, 2))) for start in (0, 4)]
             for r in range(2)]
    assert ranks == whole


def test_without_mixing_and_warping_the_source_is_handed_back(tiny_data):
    data = tiny_data()
    for params in (AugmentParams(), KINDS["noise"]):
        assert isinstance(source_of(data, params), WindowPatches)
    # What chance leaves alone comes as it was cut, in the store's own numbers.
    source = source_of(data, AugmentParams(cutmix=0.5))
    assert {source.draw(0, i).image.dtype for i in range(20)} == {np.dtype("uint16"), np.dtype("float32")}


def test_shares_of_patches_that_are_changed(tiny_data):
    data = tiny_data()
    for params in (AugmentParams(cutmix=0.3), AugmentParams(shift=0.1, warped=0.3),
                   AugmentParams(copy_paste=0.3, copy_paste_classes=("water",))):
        source = source_of(data, params)
        # A binomial count of 300 leaves 57..123 once in 20,000 times.
        assert 57 < sum(source.draw(0, i).image.dtype == np.float32 for i in range(300)) < 123


@pytest.mark.parametrize("params", [KINDS["affine"], KINDS["cutmix"], KINDS["copy_paste"], ALL],
                         ids=["affine", "cutmix", "copy_paste", "all"])
def test_labels_weights_and_validity_agree(tiny_data, params):
    """Weight 1/2 belongs to class 1 and to no other, labels only to what is visible, and NaN to what is not."""
    batch = collate([source_of(tiny_data(buffer_m=25.0), params).draw(0, i) for i in range(24)])
    image, (labels, weight) = batch.image(), batch.targets()
    assert set(labels.unique().tolist()) == {0, 1, 2, IGNORE_INDEX}
    assert set(weight[labels == 1].tolist()) == {0.5}
    assert set(weight[(labels != 1) & (labels != IGNORE_INDEX)].tolist()) == {1.0}
    undefined = torch.isnan(image).all(dim=1)
    assert (labels[undefined] == IGNORE_INDEX).all()
    assert (labels[~undefined] == IGNORE_INDEX).any()
    assert undefined.sum() == (~batch.visible_NHW).sum()


def test_classes_keep_their_colours(tiny_data):
    """In the tiny data a class is a colour: after any mixing and warping, labelled pixels still have theirs."""
    params = AugmentParams(**KINDS["affine"].model_dump() | {"cutmix": 0.5, "copy_paste": 0.5,
                                                             "copy_paste_classes": ("water",)})
    batch = collate([source_of(tiny_data(), params).draw(0, i) for i in range(24)])
    image, (labels, _) = batch.image(), batch.targets()
    medians = [image[:, 2][labels == c].nanmedian().item() for c in range(3)]
    np.testing.assert_allclose(medians, [1000, 2200, 3400], atol=60)


def test_a_dropped_band_is_undefined_and_hides_no_pixel(tiny_data):
    data = tiny_data()
    ratio = ChannelRecipe.named(BANDS, ("nir", "NDVI", "blue"), None, 10000.0)
    source, plain = source_of(data, KINDS["dropout"], ratio), source_of(data, AugmentParams(), ratio)
    gone = 0
    for i in range(30):
        batch, whole = collate([source.draw(0, i)]), collate([plain.draw(0, i)])
        assert torch.equal(batch.visible_NHW, whole.visible_NHW)
        assert torch.equal(batch.targets()[0], whole.targets()[0])
        nir, ndvi, _ = torch.isnan(batch.image()[0])
        gone += bool(nir.all())
        assert (ndvi >= nir).all()
    assert 2 < gone < 20


def pixels_of(value, label, size=4):
    return Pixels(np.full((size, size, 2), value, np.float32), np.ones((size, size), bool),
                  np.full((size, size), label, np.uint8), np.full((size, size), value / 10, np.float32))


def test_cutmix_puts_the_visible_part_of_a_rectangle_with_all_that_belongs_to_it():
    areas = []
    for seed in range(400):
        whole, target, donor = pixels_of(1, 0, 20), pixels_of(1, 0, 20), pixels_of(2, 1, 20)
        cutmix(whole, donor, np.random.default_rng(seed))
        inside = whole.image[..., 0] == 2
        assert np.array_equal(inside, np.outer(inside.any(axis=1), inside.any(axis=0)))
        areas.append(inside.mean())
        for array, value in ((donor.visible, False), (donor.image, np.nan), (donor.labels, IGNORE_INDEX),
                             (donor.weight, 0)):
            array[5:9, 5:9] = value
        cutmix(target, donor, np.random.default_rng(seed))
        inside[5:9, 5:9] = False
        for name in ("image", "visible", "labels", "weight"):
            np.testing.assert_array_equal(getattr(target, name)[inside], getattr(donor, name)[inside])
            np.testing.assert_array_equal(getattr(target, name)[~inside], getattr(pixels_of(1, 0, 20), name)[~inside])
    # Half of the patch before clipping, on average; about 0.28 after (by 10^6 draws of the formula).
    assert np.mean(areas) == pytest.approx(0.28, abs=0.04)
    assert max(areas) > 0.8


def test_copy_paste_puts_labelled_pixels_of_the_classes_only():
    target, donor = pixels_of(1, 0), pixels_of(2, 3)
    target.visible[0, 0] = False
    target.labels[0, 0] = IGNORE_INDEX
    target.labels[0, 1] = IGNORE_INDEX
    donor.labels[0, :2], donor.labels[1, 1], donor.labels[2, 2] = 1, 2, IGNORE_INDEX
    copy_paste(target, donor, (1, 2))
    expected = np.zeros((4, 4), bool)
    expected[0, 1] = expected[1, 1] = True
    np.testing.assert_array_equal(target.image[..., 1], np.where(expected, 2, 1))
    np.testing.assert_array_equal(target.weight, np.where(expected, np.float32(0.2), np.float32(0.1)))
    assert target.labels[0].tolist() == [IGNORE_INDEX, 1, 0, 0]
    assert target.labels[1, 1] == 2
    assert target.labels[2, 2] == 0
    assert np.argwhere(~target.visible).tolist() == [[0, 0]]


class Constant:
    """A source of equal patches of one class, which notes what it is asked for."""

    def __init__(self, label):
        self.label, self.asked = label, []

    def draw(self, epoch, index):
        self.asked.append((epoch, index))
        full = np.full((8, 8), self.label, np.uint8)
        return Patch(np.full((8, 8, 3), 100 * self.label, np.uint16), np.full((8, 8), 2, np.uint8),
                     np.ones((8, 8), np.uint8), full, np.ones((8, 8), np.float32), 5, "a", Window(1, 2, 8, 8))


def test_donors_of_copy_paste_come_from_the_rare_source():
    source, rare = Constant(0), Constant(2)
    params = AugmentParams(copy_paste=1, copy_paste_classes=("water",))
    patch = augmented(source, params, 0, CLASSES, rare).draw(3, 7)
    assert (patch.labels == 2).all()
    assert (patch.image == 200).all()
    assert (patch.turn, patch.scene_id, patch.window) == (5, "a", Window(1, 2, 8, 8))
    # A message about it names every place it comes from.
    assert collate([patch]).places == ("a row 1 col 2 + a row 1 col 2",)
    assert source.asked == [(3, 7)]
    assert rare.asked[0][0] == 3
    assert rare.asked[0][1] >= 2**30
    alone = Constant(2)
    augmented(alone, params, 0, CLASSES).draw(0, 0)
    assert len({index for _, index in alone.asked}) == 2


def test_weight_shares_are_those_after_pasting():
    params = AugmentParams(copy_paste=0.25, copy_paste_classes=("water",))
    assert weight_shares(Constant(1), 3, patches=2).tolist() == [0, 1, 0]
    # A patch is pasted over whole or not at all: a binomial count of 512 leaves 90..166 once in 20,000 times.
    found = weight_shares(augmented(Constant(0), params, 0, CLASSES, Constant(2)), 3)
    assert 90 / 512 < found[2] < 166 / 512
    assert found[0] == 1 - found[2]


def test_opening_hides_and_closing_keeps():
    patch = Patch(np.array([[[1], [2]], [[3], [4]]], np.uint16), np.array([[2, 0], [1, 2]], np.uint8),
                  np.array([[1, 1], [1, 0]], np.uint8), np.array([[1, 1], [1, 1]], np.uint8),
                  np.array([[0.5, np.nan], [0.5, 0.5]], np.float32), 0, "a", Window(0, 0, 2, 2))
    pixels = opened(patch)
    np.testing.assert_array_equal(pixels.image[..., 0], [[1, np.nan], [3, np.nan]])
    assert pixels.labels.tolist() == [[1, 255], [255, 255]]
    assert pixels.weight.tolist() == [[0.5, 0], [0, 0]]
    assert patch.valid.tolist() == [[1, 1], [1, 0]]
    again = closed(pixels, patch)
    assert again.ground.tolist() == [[2, 0], [1, 0]]
    assert digest(again) == digest(patch)


def test_a_class_the_split_has_not_cannot_be_pasted():
    params = AugmentParams(copy_paste=0.5, copy_paste_classes=("water", "lake"))
    with pytest.raises(ModelError, match=r"must be classes of the split .*got \['lake'\], which it merged"):
        augmented(Constant(0), params, 0, CLASSES)
