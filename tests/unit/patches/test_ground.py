"""What training may see: held-out ground is invisible, buffers carry no label, every labelled pixel can be drawn."""

import numpy as np

from pipeline.patches.ground import class_counts, open_ground
from pipeline.types import IGNORE_INDEX


def test_held_out_pixels_are_invisible_and_unlabelled(tiny_data):
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    fold = data.split.fold_map("one")
    held_out = (fold == 0) | (fold == 254)
    assert not ground.visible_HW[held_out].any()
    assert (ground.labels_HW[held_out] == IGNORE_INDEX).all()
    assert ground.visible_HW[(fold == 1) & (data.store.scenes[0].valid == 1)].all()


def test_buffer_takes_the_labels_and_not_the_pixels(tiny_data):
    plain = open_ground((d := tiny_data("a")).store, d.split)[0]
    buffered = open_ground((d := tiny_data("b", buffer_m=35.0)).store, d.split)[0]
    assert np.array_equal(plain.visible_HW, buffered.visible_HW)
    # Block 2 (columns 32..63, rows 0..31) lies right of val block 1; block 5 below is train, block 3 beside is train.
    labelled = buffered.labels_HW[20, 32:64] != IGNORE_INDEX
    assert not labelled[:3].any()
    assert labelled[3:].all()


def test_pixel_numbers_reach_exactly_the_labelled_pixels(tiny_data):
    data = tiny_data()
    ground = open_ground(data.store, data.split)[0]
    reached = [ground.pixel(n) for n in range(ground.labelled)]
    expected = np.argwhere(ground.labels_HW != IGNORE_INDEX)
    assert reached == [tuple(p) for p in expected]


def test_class_counts_count_train_labels_only(tiny_data):
    data = tiny_data()
    grounds = open_ground(data.store, data.split)
    labels = grounds[0].labels_HW
    assert class_counts(grounds, 3).tolist() == [int((labels == k).sum()) for k in range(3)]
