"""Patches depend on (seed, epoch, index) alone, and nothing of the held-out ground enters them."""

import dataclasses
import pickle
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pipeline.features.channels import ChannelRecipe
from pipeline.patches.batch import collate
from pipeline.patches.cut import channels, cut
from pipeline.patches.ground import TrainGround, masked, open_ground
from pipeline.types import IGNORE_INDEX, Window
from tests.unit.patches.samples import BANDS, PLAIN, TEXTURE, digest, source_of, uniform


@pytest.mark.parametrize("recipe", [PLAIN, TEXTURE], ids=["plain", "texture"])
def test_a_patch_depends_on_seed_epoch_and_index_only(tiny_data, recipe):
    data = tiny_data()
    first, second = source_of(data, recipe=recipe), source_of(data, recipe=recipe)
    for epoch, index in ((9, 9), (2, 700), (2, 0)):
        second.draw(epoch, index)
    assert digest(first.draw(2, 5)) == digest(second.draw(2, 5))
    assert digest(first.draw(2, 5)) == digest(pickle.loads(pickle.dumps(second)).draw(2, 5))
    others = {digest(p) for p in (first.draw(2, 6), first.draw(3, 5), first.draw(2, 5 + 256),
                                  source_of(data, seed=4, recipe=recipe).draw(2, 5))}
    assert len(others) == 4
    assert digest(first.draw(2, 5)) not in others


@pytest.mark.parametrize("recipe", [PLAIN, TEXTURE], ids=["plain", "texture"])
@pytest.mark.parametrize("buffer_m", [0.0, 25.0])
def test_garbage_in_held_out_ground_changes_no_patch(tiny_data, recipe, buffer_m):
    clean, garbage = tiny_data("clean", buffer_m=buffer_m), tiny_data("garbage", held_out_garbage=1, buffer_m=buffer_m)
    assert not np.array_equal(clean.store.scenes[0].image, garbage.store.scenes[0].image)
    one, two = source_of(clean, recipe=recipe), source_of(garbage, recipe=recipe)
    assert [digest(one.draw(0, i)) for i in range(40)] == [digest(two.draw(0, i)) for i in range(40)]


def test_the_garbage_test_can_fail(tiny_data):
    """Texture computed before held-out pixels are hidden does change, so the test above tests something."""
    grounds = [open_ground((d := tiny_data(n, held_out_garbage=g)).store, d.split)[0]
               for n, g in (("clean", None), ("garbage", 1))]
    window = Window(0, 30, 34, 34)
    hidden = [channels(ground, window, TEXTURE) for ground in grounds]
    assert hidden[0].tobytes() == hidden[1].tobytes()
    leaky = []
    for ground in grounds:
        image = TEXTURE.compute(np.moveaxis(ground.image_HWB[:60, :80], -1, 0).astype(np.float32))
        leaky.append(np.where(ground.visible(window), image[:, :34, 30:64], np.nan))
    assert leaky[0].tobytes() != leaky[1].tobytes()


def test_channels_do_not_depend_on_where_a_window_begins(tiny_data):
    ground = open_ground((d := tiny_data()).store, d.split)[0]
    whole = channels(ground, Window(0, 0, 96, 128), TEXTURE)
    assert np.isnan(whole[:, ~ground.visible(Window(0, 0, 96, 128))]).all()
    assert np.isfinite(whole[2][ground.visible(Window(0, 0, 96, 128))]).any()
    for window in (Window(0, 0, 20, 20), Window(31, 33, 40, 17), Window(60, 90, 36, 38)):
        assert channels(ground, window, TEXTURE).tobytes() == np.ascontiguousarray(whole[:, *window.slices]).tobytes()


def test_photometric_changes_come_before_channels_and_after_hiding(tiny_data):
    data, seen = tiny_data(), []

    def brighter(image, rng):
        seen.append((np.isnan(image).any(), rng.random()))
        return image * np.float32(1.5)

    ratio = ChannelRecipe.named(BANDS, ("nir", "NDVI"), None, 10000.0)
    plain, changed = source_of(data, recipe=ratio), source_of(data, recipe=ratio, photometric=brighter)
    for index in range(12):
        before, after = plain.draw(0, index), changed.draw(0, index)
        np.testing.assert_allclose(after.image[..., 0], 1.5 * before.image[..., 0])
        np.testing.assert_allclose(after.image[..., 1], before.image[..., 1], rtol=1e-4, atol=1e-5)
    assert any(hidden for hidden, _ in seen)
    # Random changes are drawn by epoch and index alone.
    assert len({drawn for _, drawn in seen}) == 12
    changed.draw(0, 5)
    assert seen[-1] == seen[5]
    # A plain recipe computes nothing, and yet its bands are changed.
    image, expected = (collate([source_of(data, photometric=p).draw(0, 3)]).image() for p in (brighter, None))
    assert torch.isnan(expected).any()
    torch.testing.assert_close(image, 1.5 * expected, equal_nan=True)


def test_every_labelled_pixel_is_drawn_about_equally_often(tiny_data, monkeypatch):
    """Chi-square of the pixels that windows are laid around: over squares of 8 px, rows and columns, and classes."""
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    labels = ground.labels(Window(0, 0, 96, 128))
    drawn = np.zeros(labels.shape, dtype=int)
    found = TrainGround.pixel

    def recorded(self, number):
        row, col = found(self, number)
        drawn[row, col] += 1
        return row, col

    monkeypatch.setattr(TrainGround, "pixel", recorded)
    source = uniform([ground], 8)
    for i in range(8000):
        assert source.draw(0, i).turn == 0
    labelled = labels != IGNORE_INDEX
    assert drawn.sum() == drawn[labelled].sum() == 8000
    rows, cols = np.indices(labels.shape)
    for group in (rows // 8 * 16 + cols // 8, rows, cols, labels):
        counts, pixels = (np.bincount(group[labelled], weights=w[labelled]) for w in (drawn, labelled.astype(float)))
        expected = 8000 * pixels[pixels > 0] / pixels.sum()
        assert expected.min() > 10
        # By chance p is below this once in 10,000 seeds.
        assert chisquare(counts[pixels > 0], expected).pvalue > 1e-4


def test_windows_around_it_show_every_labelled_pixel(tiny_data):
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    seen = np.zeros(ground.scene.grid.shape)
    source = uniform([ground], 32)
    for i in range(600):
        seen[source.draw(0, i).window.slices] += 1
    assert (seen[ground.labels(Window(0, 0, 96, 128)) != IGNORE_INDEX] > 0).all()


def test_every_turn_is_drawn(tiny_data):
    source = source_of(tiny_data())
    assert {source.draw(0, i).turn for i in range(100)} == set(range(8))


def test_scenes_are_drawn_in_proportion_to_their_labelled_pixels(tiny_data):
    data = tiny_data()
    one = open_ground(data.store, data.split)[0]
    for folder in (data.scenes, data.splits):
        shutil.copytree(folder / "one", folder / "two")
    scene = dataclasses.replace(one.scene, id="two", folder=data.scenes / "two")
    source = uniform([one, dataclasses.replace(one, scene=scene)], 32)
    drawn = [source.draw(0, i).scene_id for i in range(1000)]
    # Half each: a binomial count of 1000 leaves 430..570 once in 100,000 times.
    assert 430 < drawn.count("two") < 570


def test_windows_stay_inside_and_small_scenes_are_padded(tiny_data):
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    source = source_of(data)
    for i in range(50):
        window = source.draw(0, i).window
        assert 0 <= window.row <= 96 - 32
        assert 0 <= window.col <= 128 - 32
    for recipe, bands in ((PLAIN, 4), (TEXTURE, 4)):
        image, codes, valid, labels, weight = cut(ground, Window(0, 0, 160, 160), recipe)
        visible, labels = masked(codes, valid, labels)
        assert image.shape == (160, 160, bands)
        assert weight.shape == (160, 160)
        assert np.array_equal(visible[:96, :128], ground.visible(Window(0, 0, 96, 128)))
        assert not visible[96:].any()
        assert not visible[:, 128:].any()
        assert (labels[96:] == IGNORE_INDEX).all()
    # A scene smaller than a patch gives the whole scene each time.
    assert source_of(data, size=160).draw(0, 0).window == Window(0, 0, 160, 160)


def test_a_patch_is_what_the_store_says(tiny_data):
    data = tiny_data(buffer_m=25.0)
    scene, split = data.store.scenes[0], data.split
    patch = next(p for i in range(99) if set(np.unique((p := source_of(data).draw(0, i)).ground)) == {0, 1, 2})
    place = patch.window.slices
    train = (split.ground_map("one")[place] > 0) & (scene.valid[place] == 1)
    learn = train & (split.ground_map("one")[place] == 2)
    assert np.array_equal(patch.image, scene.image[place])
    image, (labels, weight) = (b := collate([patch])).image(), b.targets()
    known = np.where(learn, scene.labels[place], 255)
    assert np.array_equal(b.visible_NHW[0], train)
    assert np.array_equal(b.raw_labels_NHW[0], known)
    expected = np.where(train[..., None], scene.image[place], np.nan).astype(np.float32)
    turned = torch.rot90(torch.tensor(expected).flip(1) if patch.turn >= 4 else torch.tensor(expected), patch.turn % 4)
    assert torch.equal(image[0].permute(1, 2, 0).nan_to_num(-1), turned.nan_to_num(-1))
    assert image.dtype == torch.float32
    assert (weight[labels == 255] == 0).all()
    assert sorted(weight[labels != 255].tolist()) == sorted(scene.weight[place][known != 255].tolist())
