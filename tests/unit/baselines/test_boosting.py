"""Boosting: what it is trained on, that nothing held out reaches it, and that it learns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.baselines.boosting import draw, fit, train_table
from pipeline.errors import LabelError
from pipeline.patches.ground import TrainGround, open_ground
from pipeline.types import IGNORE_INDEX


def grounds_of(data: Any) -> list[TrainGround]:
    return open_ground(data.store, data.split)


def test_draws_the_asked_number_of_labelled_train_pixels_each_time_the_same(tiny_data: Callable[..., Any]) -> None:
    grounds = grounds_of(tiny_data())
    mask, again = draw(grounds, 300, seed=3)[0], draw(grounds, 300, seed=3)[0]
    assert mask.sum() == 300
    assert (grounds[0].labels_HW[mask] != IGNORE_INDEX).all()
    assert np.array_equal(mask, again)
    assert not np.array_equal(mask, draw(grounds, 300, seed=4)[0])
    assert draw(grounds, 10**9, seed=3)[0].sum() == grounds[0].labelled


def test_draws_from_all_scenes_in_proportion(tiny_data: Callable[..., Any]) -> None:
    one = grounds_of(tiny_data())[0]
    masks = draw([one, one, one], 900, seed=0)
    assert sum(int(m.sum()) for m in masks) == 900
    assert all(240 < m.sum() < 360 for m in masks)


@pytest.mark.parametrize("focal_px", [(), (5, 15)])
def test_garbage_in_held_out_pixels_changes_no_train_feature(tiny_data: Callable[..., Any],
                                                             focal_px: tuple[int, ...]) -> None:
    tables = []
    for name, garbage in (("clean", None), ("noise", 1), ("other", 2)):
        grounds = grounds_of(tiny_data(name, held_out_garbage=garbage))
        tables.append(train_table(grounds, draw(grounds, 500, seed=0), focal_px))
    for features_NF, labels_N in tables[1:]:
        assert features_NF.tobytes() == tables[0][0].tobytes()
        assert labels_N.tobytes() == tables[0][1].tobytes()


def test_the_garbage_test_can_fail(tiny_data: Callable[..., Any]) -> None:
    """Features that see all valid pixels do change, so the test above tests something."""
    rows = []
    for name, garbage in (("clean", None), ("noise", 1)):
        ground = grounds_of(tiny_data(name, held_out_garbage=garbage))[0]
        leaky = TrainGround(ground.scene, ground.scene.valid == 1, ground.labels_HW, ground.cumulative_rows)
        rows.append(train_table([leaky], draw([ground], 500, seed=0), (5,))[0])
    assert rows[0].tobytes() != rows[1].tobytes()


def test_learns_classes_that_pixels_give_away_and_predicts_only_what_is_wanted(tiny_data: Callable[..., Any]) -> None:
    data = tiny_data()
    scene = data.store.scenes[0]
    model = fit(grounds_of(data), 1500, (3,), seed=0)
    wanted = data.split.mask(data.split.fold_map("one"), "val") & (scene.valid == 1)
    predicted = model.predict(scene, wanted)
    assert predicted.dtype == np.uint8
    assert (predicted[~wanted] == IGNORE_INDEX).all()
    known = wanted & (scene.labels != IGNORE_INDEX)
    assert (predicted[known] == scene.labels[known]).mean() > 0.95


def test_equal_seeds_give_equal_maps(tiny_data: Callable[..., Any]) -> None:
    data = tiny_data()
    wanted = data.store.scenes[0].valid == 1
    maps = [fit(grounds_of(data), 300, (), seed=5).predict(data.store.scenes[0], wanted) for _ in range(2)]
    assert np.array_equal(*maps)


def relabelled(ground: TrainGround, labels: np.ndarray) -> TrainGround:
    return TrainGround(ground.scene, ground.visible_HW, labels, np.cumsum((labels != IGNORE_INDEX).sum(axis=1)))


def test_a_class_of_one_pixel_is_left_out_with_a_warning(tiny_data: Callable[..., Any]) -> None:
    ground = grounds_of(tiny_data())[0]
    labels = np.where(ground.labels_HW == 2, IGNORE_INDEX, ground.labels_HW).astype(np.uint8)
    labels[tuple(np.argwhere(ground.labels_HW == 2)[0])] = 2
    with pytest.warns(UserWarning, match=r"leaves out class ids \[2\]"):
        model = fit([relabelled(ground, labels)], 10**6, (), seed=0)
    assert model.classifier.classes_.tolist() == [0, 1]


def test_one_class_cannot_be_learnt(tiny_data: Callable[..., Any]) -> None:
    ground = grounds_of(tiny_data())[0]
    labels = np.where(ground.labels_HW == 1, 1, IGNORE_INDEX).astype(np.uint8)
    with pytest.raises(LabelError, match="train pixels of two classes: got 1"):
        fit([relabelled(ground, labels)], 100, (), seed=0)
