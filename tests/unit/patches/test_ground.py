"""What training may see: held-out ground is invisible, buffers carry no label, every labelled pixel can be drawn."""

import json
import pickle
import tracemalloc

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.geo import raster_io
from pipeline.patches.ground import TrainGround, class_counts, open_ground, scene_bands
from pipeline.patches.statistics import band_statistics
from pipeline.types import IGNORE_INDEX, Window
from tests.unit.patches.samples import PLAIN, digest, large_store, uniform

WHOLE = Window(0, 0, 96, 128)


def ground_of(data) -> TrainGround:
    return open_ground(data.store, data.split)[0]


def test_held_out_pixels_are_invisible_and_unlabelled(tiny_data):
    data = tiny_data()
    ground = ground_of(data)
    visible, labels = ground.visible(WHOLE), ground.labels(WHOLE)
    fold = data.split.fold_map("one")
    held_out = (fold == 0) | (fold == 254)
    assert not visible[held_out].any()
    assert (labels[held_out] == IGNORE_INDEX).all()
    valid = data.store.scenes[0].valid == 1
    assert visible[(fold == 1) & valid].all()
    assert not visible[~valid].any()
    assert (labels[~valid] == IGNORE_INDEX).all()


def test_buffer_takes_the_labels_and_not_the_pixels(tiny_data):
    plain, buffered = ground_of(tiny_data("a")), ground_of(tiny_data("b", buffer_m=35.0))
    assert np.array_equal(plain.visible(WHOLE), buffered.visible(WHOLE))
    # Block 2 (columns 32..63, rows 0..31) lies right of val block 1; block 5 below is train, block 3 beside is train.
    labelled = buffered.labels(WHOLE)[20, 32:64] != IGNORE_INDEX
    assert not labelled[:3].any()
    assert labelled[3:].all()


def test_windows_show_what_the_whole_shows(tiny_data):
    ground = ground_of(tiny_data(buffer_m=25.0))
    for window in (Window(0, 0, 7, 9), Window(30, 31, 40, 50), Window(95, 127, 1, 1)):
        assert np.array_equal(ground.labels(window), ground.labels(WHOLE)[window.slices])
        assert np.array_equal(ground.visible(window), ground.visible(WHOLE)[window.slices])


@pytest.mark.parametrize("buffer_m", [0.0, 25.0])
def test_pixel_numbers_reach_exactly_the_labelled_pixels(tiny_data, buffer_m):
    data = tiny_data(buffer_m=buffer_m)
    scene = data.store.scenes[0]
    valid = scene.valid.copy()
    valid[10:20, 60:70] = 0
    raster_io.write(scene.folder / "valid.tif", valid, scene.grid, ["valid"])
    ground = ground_of(data)
    reached = [ground.pixel(n) for n in range(ground.labelled)]
    expected = np.argwhere(ground.labels(WHOLE) != IGNORE_INDEX)
    assert reached == [tuple(p) for p in expected]


def test_class_counts_count_train_labels_only(tiny_data):
    grounds = open_ground((d := tiny_data()).store, d.split)
    labels = grounds[0].labels(WHOLE)
    assert class_counts(grounds, 3).tolist() == [int((labels == k).sum()) for k in range(3)]
    assert sum(class_counts(grounds, 3)) == grounds[0].labelled


@pytest.mark.parametrize(("class_map", "classes"), [([0, 1, 1], 2), ([1, 0, 255], 2)])
def test_merged_and_dropped_classes_are_looked_up(tiny_data, class_map, classes):
    data = tiny_data()
    plain = ground_of(data).labels(WHOLE)
    certificate = json.loads((data.splits / "certificate.json").read_text())
    certificate |= {"class_map": class_map, "classes": ["a", "b"][:classes]}
    (data.splits / "certificate.json").write_text(json.dumps(certificate))
    merged = ground_of(data)
    expected = plain.copy()
    for old, new in enumerate(class_map):
        expected[plain == old] = new
    assert np.array_equal(merged.labels(WHOLE), expected)
    assert merged.class_pixels[:3].tolist() == [int((expected == k).sum()) for k in range(3)]
    assert merged.labelled == int((expected != 255).sum())
    assert merged.pixel(merged.labelled - 1) == tuple(np.argwhere(expected != 255)[-1])


def test_a_split_without_train_labels_is_refused(tiny_data):
    with pytest.raises(SplitError, match="must have labelled pixels: got none outside the buffer"):
        open_ground((d := tiny_data(buffer_m=1e5)).store, d.split)


def test_pickled_ground_leaves_its_maps_behind(tiny_data):
    ground = ground_of(tiny_data())
    ground.labels(WHOLE)
    assert len(pickle.dumps(ground)) < 12000
    assert np.array_equal(pickle.loads(pickle.dumps(ground)).labels(WHOLE), ground.labels(WHOLE))


def test_memory_does_not_grow_with_the_scene(tmp_path):
    peaks = []
    for name, height, width in (("small", 512, 1024), ("large", 2048, 2048)):
        store, split = large_store(tmp_path / name, height, width)
        tracemalloc.start()
        grounds = open_ground(store, split)
        band_statistics(grounds, PLAIN)
        source = uniform(grounds, 128)
        digest(*(source.draw(0, i) for i in range(4)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The larger scene has eight times the pixels; a byte for each of those it has more would be 3.5 MiB.
    assert peaks[1] < peaks[0] + 500_000, peaks


def test_bands_cover_a_scene_once(tiny_data):
    scene = tiny_data().store.scenes[0]
    assert sum(band.height * band.width for band in scene_bands(scene)) == 96 * 128
