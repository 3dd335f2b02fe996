"""Samplers place windows by (seed, epoch, index) alone, where they say, and by nothing of the held-out ground."""

import dataclasses
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest
from scipy.stats import chisquare

from pipeline.geo import raster_io
from pipeline.params.patches import PatchParams
from pipeline.patches import composition
from pipeline.patches.anchors import LabelledPixels, class_pools, interface_pool
from pipeline.patches.composition import open_sampler
from pipeline.patches.draws import AnchorColumns, Draws
from pipeline.patches.ground import class_counts, open_ground
from pipeline.patches.samplers import AnchoredSampler, GridSampler, ImageSampler, uniform_sampler
from pipeline.types import IGNORE_INDEX, Window
from tests.unit.patches.samples import large_store

WHOLE = Window(0, 0, 96, 128)
TARGET = np.array([0.2, 0.3, 0.5])


@pytest.fixture(autouse=True)
def _few_windows_measured(monkeypatch):
    monkeypatch.setattr(composition, "_WINDOWS", 48)
    monkeypatch.setattr(composition, "_IMAGE_WINDOWS", 48)


def grounds_of(data):
    return open_ground(data.store, data.split)


def two_scenes(data):
    """The tiny scene, and its mirror image."""
    for folder in (data.scenes, data.splits):
        shutil.copytree(folder / "one", folder / "two")
        for file in sorted((folder / "two").glob("*.tif")):
            grid, array = data.store.scenes[0].grid, raster_io.read(file)
            raster_io.write(file, np.ascontiguousarray(array[:, ::-1]), grid, ["b"] * (array.shape[2:] or (1,))[0])
    one = data.store.scenes[0]
    two = dataclasses.replace(one, id="two", folder=data.scenes / "two")
    return open_ground(dataclasses.replace(data.store, scenes=(one, two)), data.split)


def sampler(grounds, name, seed=3, size=32, **sampling):
    params = PatchParams.model_validate({"size_px": size, "per_epoch": 8, "sampling": {"name": name, **sampling}})
    return open_sampler(grounds, params, TARGET, seed).sampler


SAMPLERS = [("random", {}), ("random", {"interface": ("water", "settlement"), "interface_share": 0.5}),
            ("balanced", {"jitter": 0.5}), ("grid", {}),
            ("balanced", {"interface": ("background", "settlement"), "interface_share": 0.3,
                          "composition_of": "pixels"}), ("image", {})]
IDS = ["random", "random with interface", "balanced", "grid", "balanced with interface", "image"]
every_sampler = pytest.mark.parametrize(("name", "sampling"), SAMPLERS, ids=IDS)

# Half the tiny scene is held out, and `image` says so.
pytestmark = pytest.mark.filterwarnings("ignore:train.patches.sampling.name image draws places in held-out")


def test_uniform_draws_are_those_of_before_there_were_samplers():
    """Recorded when uniform draws were all there was: pixel, row shift, column shift, turn."""
    draws = Draws(7, AnchorColumns((123456,), (1.0,), 0, 128, 8))
    assert draws(3, 1000) == (0, 27247, 28, 77, 2)
    assert draws(0, 0) == (0, 33015, 107, 121, 2)


@every_sampler
def test_a_place_depends_on_seed_epoch_and_index_only(tiny_data, name, sampling):
    grounds = grounds_of(tiny_data())
    first = sampler(grounds, name, **sampling)
    second = pickle.loads(pickle.dumps(first))
    for epoch, index in ((9, 9), (2, 1 << 30), (2, 700), *((e, 5) for e in range(12))):
        second.place(epoch, index)
    assert first.place(2, 5) == second.place(2, 5)
    assert pickle.loads(pickle.dumps(second)).place(2, 5) == first.place(2, 5)
    several = [first.place(2, i) for i in range(30)]
    assert several != [first.place(3, i) for i in range(30)]
    assert several != [first.place(2, i + 256) for i in range(30)]
    assert several != [sampler(grounds, name, seed=4, **sampling).place(2, i) for i in range(30)]


@every_sampler
@pytest.mark.parametrize("buffer_m", [0.0, 25.0])
def test_garbage_in_held_out_ground_changes_no_place_and_no_share(tiny_data, name, sampling, buffer_m):
    clean, garbage = tiny_data("clean", buffer_m=buffer_m), tiny_data("garbage", held_out_garbage=1, buffer_m=buffer_m)
    params = PatchParams.model_validate({"size_px": 32, "per_epoch": 8, "sampling": {"name": name, **sampling}})
    one, two = (open_sampler(grounds_of(d), params, TARGET, seed=3) for d in (clean, garbage))
    assert [one.sampler.place(0, i) for i in range(300)] == [two.sampler.place(0, i) for i in range(300)]
    assert dataclasses.replace(one, sampler=None) == dataclasses.replace(two, sampler=None)


def test_the_garbage_test_can_fail(tiny_data):
    """Pixels of a class over the whole scene, held-out ground included, do differ."""
    counts = []
    for data in (tiny_data("clean"), tiny_data("garbage", held_out_garbage=1)):
        counts.append(np.bincount(data.store.scenes[0].labels.ravel(), minlength=256)[:3].tolist())
    assert counts[0] != counts[1]


@pytest.mark.parametrize("buffer_m", [0.0, 25.0])
def test_class_pools_number_exactly_their_pixels(tiny_data, buffer_m):
    grounds = two_scenes(tiny_data(buffer_m=buffer_m))
    pools = class_pools(grounds, 3)
    assert [pool.pixels for pool in pools] == class_counts(grounds, 3).tolist()
    for class_id, pool in enumerate(pools):
        expected = [(number, *p) for number, ground in enumerate(grounds)
                    for p in np.argwhere(ground.labels(WHOLE) == class_id).tolist()]
        assert [pool.pixel(n) for n in range(pool.pixels)] == expected


def test_a_class_that_a_scene_lacks_is_found_in_the_others(tiny_data):
    data = tiny_data()
    path = data.store.scenes[0].folder / "labels.tif"
    labels = raster_io.read(path)
    grounds = two_scenes(data)
    raster_io.write(path, np.where(labels == 2, 0, labels).astype(np.uint8), grounds[0].scene.grid, ["class"])
    scenes = tuple(dataclasses.replace(g.scene) for g in grounds)
    grounds = open_ground(dataclasses.replace(data.store, scenes=scenes), data.split)
    water = class_pools(grounds, 3)[2]
    assert water.pixels > 0
    assert {water.pixel(n)[0] for n in range(water.pixels)} == {1}


@pytest.mark.parametrize("buffer_m", [0.0, 25.0])
def test_interface_pixels_touch_the_other_class_on_train_ground(tiny_data, buffer_m):
    grounds = two_scenes(tiny_data(buffer_m=buffer_m))
    pool = interface_pool(grounds, 0, 2)
    expected = []
    for number, ground in enumerate(grounds):
        padded = np.pad(ground.labels(WHOLE), 1, constant_values=IGNORE_INDEX)
        for row, col in np.argwhere(padded[1:-1, 1:-1] != IGNORE_INDEX).tolist():
            own = padded[row + 1, col + 1]
            beside = {padded[row, col + 1], padded[row + 2, col + 1], padded[row + 1, col], padded[row + 1, col + 2]}
            if own in (0, 2) and 2 - own in beside:
                expected.append((number, row, col))
    assert len(expected) > 50
    assert [pool.pixel(n) for n in range(pool.pixels)] == expected


def test_pools_are_drawn_by_their_shares_and_their_pixels_uniformly(tiny_data):
    grounds = two_scenes(tiny_data())
    labels = [ground.labels(WHOLE) for ground in grounds]
    # One place in the window, so that the anchor is known from the window unless the scene's edge moved it.
    size, shares = 9, (0.5, 0.125, 0.375)
    made = AnchoredSampler(grounds, class_pools(grounds, 3), shares, size, 0, 1, jitter=0.0)
    drawn, inner = np.zeros((2, *labels[0].shape)), np.zeros((2, *labels[0].shape), bool)
    inner[:, 5:-5, 5:-5] = True
    total = 12000
    for index in range(total):
        place = made.place(0, index)
        drawn[place.ground, place.window.row + 4, place.window.col + 4] += 1
    labels = np.stack(labels)
    expected = np.zeros(labels.shape)
    for k, share in enumerate(shares):
        expected[labels == k] = total * share / (labels == k).sum()
    assert drawn[inner & (labels == IGNORE_INDEX)].sum() == 0
    groups = (np.indices(labels.shape)[1] // 16 * 8 + np.indices(labels.shape)[2] // 16) * 3 + labels % 3
    groups += labels[0].size * np.indices(labels.shape)[0]
    known = inner & (labels != IGNORE_INDEX)
    counts, hoped = (np.bincount(groups[known], weights=w[known]) for w in (drawn, expected))
    kept = hoped > 10
    assert kept.sum() > 60
    # By chance p is below this once in 10,000 seeds.
    assert chisquare(counts[kept], hoped[kept] * counts[kept].sum() / hoped[kept].sum()).pvalue > 1e-4
    # Up to what the frame hides, shares are as asked.
    assert np.bincount(labels[known], weights=drawn[known])[0] / drawn[known].sum() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("jitter", "low", "high"), [(0.0, 15, 15), (0.5, 8, 23), (1.0, 0, 31)])
def test_jitter_says_where_in_the_window_the_pixel_may_lie(tiny_data, jitter, low, high):
    """A pixel in the middle of a large scene, so that no edge moves a window."""
    grounds = grounds_of(tiny_data())

    class One:
        pixels = 1

        def pixel(self, number):
            return 0, 50, 60

    made = AnchoredSampler(grounds, [One()], [1.0], 32, 0, 1, jitter)
    windows = [made.place(0, i).window for i in range(600)]
    for shifts in ([50 - w.row for w in windows], [60 - w.col for w in windows]):
        assert (min(shifts), max(shifts)) == (low, high)
    assert len({w.row - 50 == w.col - 60 for w in windows}) == (1 if jitter == 0 else 2)


def test_pools_without_a_share_are_never_asked(tiny_data):
    grounds = grounds_of(tiny_data())

    class Empty:
        pixels = 0

    made = AnchoredSampler(grounds, [Empty(), LabelledPixels(grounds)], [0.0, 1.0], 32, 3, 8)
    same = uniform_sampler(grounds, 32, 3, 8)
    assert [made.place(0, i) for i in range(20)] == [same.place(0, i) for i in range(20)]


@pytest.mark.parametrize("size", [32, 40, 160])
def test_a_pass_over_the_grid_shows_every_labelled_pixel_once(tiny_data, size):
    grounds = two_scenes(tiny_data(buffer_m=25.0))
    grid = GridSampler(grounds, size, seed=0, turns=8, per_epoch=7)
    passes = []
    for number in range(3):
        seen = np.zeros((2, 96 + size, 128 + size), int)
        places = [grid.place(*divmod(i, 7)) for i in range(number * len(grid), (number + 1) * len(grid))]
        for place in places:
            seen[place.ground][place.window.slices] += 1
        passes.append([(p.ground, p.window) for p in places])
        for ground, counts in zip(grounds, seen, strict=True):
            assert (counts[:96, :128][ground.labels(WHOLE) != IGNORE_INDEX] == 1).all()
            assert counts.max() == 1
    assert len({tuple(sorted(p, key=str)) for p in passes}) == 1
    assert len(grid) < 4 or passes[0] != passes[1] != passes[2]
    # Windows that show no label are left out.
    for number, window in passes[0]:
        inside = Window(window.row, window.col, min(size, 96 - window.row), min(size, 128 - window.col))
        assert (grounds[number].labels(inside) != IGNORE_INDEX).any()
    if size == 32:
        held_out = 2 * sum(b in (1, 4, 7, 10) for b in range(1, 13))
        assert len(grid) == 24 - held_out


def test_images_are_drawn_equally_often_whatever_their_labels(tiny_data):
    grounds = two_scenes(tiny_data())
    # The second scene has labels in its first rows only.
    few = dataclasses.replace(grounds[1], cumulative_rows=np.minimum(grounds[1].cumulative_rows, 3))
    made = ImageSampler([grounds[0], few], 32, seed=0, turns=8)
    places = [made.place(0, i) for i in range(6000)]
    # A binomial count of 6000 leaves 2800..3200 once in 4 million times.
    assert 2800 < sum(p.ground for p in places) < 3200
    rows, cols = ([getattr(p.window, axis) for p in places] for axis in ("row", "col"))
    assert (min(rows), max(rows), min(cols), max(cols)) == (0, 64, 0, 96)
    for values, high in ((rows, 65), (cols, 97)):
        assert chisquare(np.bincount(values, minlength=high)).pvalue > 1e-4
    assert {p.turn for p in places} == set(range(8))
    assert ImageSampler(grounds, 160, 0, 1).place(0, 0).window == Window(0, 0, 160, 160)


def test_memory_does_not_grow_with_the_scene(tmp_path):
    peaks = []
    for name, height, width in (("small", 512, 1024), ("large", 2048, 2048)):
        grounds = open_ground(*large_store(tmp_path / name, height, width))
        tracemalloc.start()
        made = sampler(grounds, "balanced", size=128, interface=("a", "b"), interface_share=0.5)
        made.place(0, 0)
        sampler(grounds, "grid", size=128).place(0, 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The larger scene has eight times the pixels; a byte for each of those it has more would be 3.5 MiB.
    assert peaks[1] < peaks[0] + 500_000, peaks
