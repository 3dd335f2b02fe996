"""Patches depend on (seed, epoch, index) alone, and nothing of the held-out ground enters them."""

import hashlib

import numpy as np
import pytest

from pipeline.patches.ground import open_ground
from pipeline.patches.loader import epoch_batches
from pipeline.patches.orient import orient
from pipeline.patches.source import WindowPatches, cut
from pipeline.patches.statistics import band_statistics
from pipeline.types import IGNORE_INDEX, Window


def _source(data, seed=3, size=32):
    return WindowPatches(open_ground(data.store, data.split), size, seed, flips_and_rotations=True)


def _digest(patch):
    return hashlib.sha256(patch.image.tobytes() + patch.labels.tobytes() + patch.weight.tobytes()).hexdigest()


def test_a_patch_depends_on_seed_epoch_and_index_only(tiny_data):
    data = tiny_data()
    first, second = _source(data), _source(data)
    second.draw(9, 9)
    assert _digest(first.draw(2, 5)) == _digest(second.draw(2, 5))
    others = {_digest(first.draw(2, 6)), _digest(first.draw(3, 5)), _digest(_source(data, seed=4).draw(2, 5))}
    assert _digest(first.draw(2, 5)) not in others


def test_garbage_in_held_out_ground_changes_no_patch_and_no_statistic(tiny_data):
    clean, garbage = tiny_data("clean"), tiny_data("garbage", held_out_garbage=1)
    assert not np.array_equal(clean.store.scenes[0].image, garbage.store.scenes[0].image)
    one, two = _source(clean), _source(garbage)
    assert [_digest(one.draw(0, i)) for i in range(40)] == [_digest(two.draw(0, i)) for i in range(40)]
    assert band_statistics(open_ground(clean.store, clean.split)) == band_statistics(
        open_ground(garbage.store, garbage.split))


def test_statistics_are_those_of_the_visible_pixels(tiny_data):
    data = tiny_data()
    grounds = open_ground(data.store, data.split)
    pixels = data.store.scenes[0].image[grounds[0].visible_HW].astype(np.float64)
    statistics = band_statistics(grounds)
    assert statistics.mean == pytest.approx(pixels.mean(axis=0))
    assert statistics.std == pytest.approx(pixels.std(axis=0))
    assert statistics.low == tuple(pixels.min(axis=0))
    assert statistics.high == tuple(pixels.max(axis=0))


def test_every_labelled_pixel_is_drawn_about_equally_often(tiny_data):
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    seen = np.zeros(ground.labels_HW.shape)
    source = WindowPatches([ground], 32, 0, flips_and_rotations=False)
    for i in range(600):
        window = source.draw(0, i).window
        seen[window.slices] += 1
    assert (seen[ground.labels_HW != IGNORE_INDEX] > 0).all()


def test_windows_stay_inside_and_small_scenes_are_padded(tiny_data):
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    for i in range(50):
        window = _source(data).draw(0, i).window
        assert 0 <= window.row <= 96 - 32
        assert 0 <= window.col <= 128 - 32
    image, labels, weight = cut(ground, Window(0, 0, 160, 160))
    assert np.isnan(image[:, 96:]).all()
    assert np.isnan(image[:, :, 128:]).all()
    assert (labels[96:] == IGNORE_INDEX).all()
    assert (weight[labels == IGNORE_INDEX] == 0).all()


def test_eight_orientations_are_different_and_keep_pixels_together():
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    turned = [orient(square, k) for k in range(8)]
    assert len({t.tobytes() for t in turned}) == 8
    assert np.array_equal(turned[1], [[2, 5, 8], [1, 4, 7], [0, 3, 6]])
    assert np.array_equal(turned[4], [[2, 1, 0], [5, 4, 3], [8, 7, 6]])
    assert np.array_equal(orient(np.stack([square, 2 * square]), 5)[1], 2 * orient(square, 5))


def test_draws_do_not_depend_on_ranks_workers_or_accumulation(tiny_data):
    source = _source(tiny_data())

    def places(**options):
        steps = list(epoch_batches(source, 1, 8, 4, **options))
        return [sorted(p for part in step for p in part.places) for step in steps]

    whole = places(accumulation=1)
    assert len(whole) == 2
    assert places(accumulation=2) == whole
    ranks = [places(accumulation=2, rank=r, world_size=2) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == whole
