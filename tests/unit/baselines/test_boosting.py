"""Boosting: what it is trained on, that nothing held out reaches it, and that it learns."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.baselines.boosting import draw, fit, train_table
from pipeline.errors import LabelError
from pipeline.patches.ground import TrainGround, open_ground
from pipeline.scenes.store import Scene
from pipeline.types import IGNORE_INDEX, Window


def grounds_of(data: Any) -> list[TrainGround]:
    return open_ground(data.store, data.split)


def whole(scene: Scene) -> Window:
    return Window(0, 0, *scene.grid.shape)


def test_draws_the_asked_number_of_labelled_train_pixels_each_time_the_same(tiny_data: Callable[..., Any]) -> None:
    grounds = grounds_of(tiny_data())
    drawn, again = draw(grounds, 300, seed=3)[0], draw(grounds, 300, seed=3)[0]
    assert len(np.unique(drawn)) == 300
    assert 0 <= drawn[0] < drawn[-1] < grounds[0].labelled
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, draw(grounds, 300, seed=4)[0])
    assert draw(grounds, 10**9, seed=3)[0].tolist() == list(range(grounds[0].labelled))


def test_draws_from_all_scenes_in_proportion(tiny_data: Callable[..., Any]) -> None:
    one = grounds_of(tiny_data())[0]
    drawn = draw([one, one, one], 900, seed=0)
    assert sum(map(len, drawn)) == 900
    assert all(240 < len(numbers) < 360 for numbers in drawn)
    assert all(numbers.min() >= 0 and numbers.max() < one.labelled for numbers in drawn)


@pytest.mark.parametrize("pixels", [1_000_000, 128 * 7])
def test_drawn_numbers_name_pixels_row_by_row(tiny_data: Callable[..., Any], pixels: int,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.baselines.boosting.BAND_PIXELS", pixels)
    ground = grounds_of(tiny_data())[0]
    labels = ground.labels(whole(ground.scene))
    numbers = np.array([0, 1, 2, 700, ground.labelled - 1])
    features_NF, labels_N = train_table([ground], [numbers], ())
    places = tuple(np.argwhere(labels != IGNORE_INDEX)[numbers].T)
    assert labels_N.tolist() == labels[places].tolist()
    assert features_NF.tolist() == ground.scene.image[places].tolist()


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


class Leaky(TrainGround):
    """Lets held-out pixels be seen."""

    def visible(self, window: Window) -> np.ndarray:
        return np.asarray(self.scene.valid[window.slices] == 1)


def test_the_garbage_test_can_fail(tiny_data: Callable[..., Any]) -> None:
    """Features that see all valid pixels do change, so the test above tests something."""
    rows = []
    for name, garbage in (("clean", None), ("noise", 1)):
        ground = grounds_of(tiny_data(name, held_out_garbage=garbage))[0]
        leaky = Leaky(**{f.name: getattr(ground, f.name) for f in dataclasses.fields(ground)})
        rows.append(train_table([leaky], draw([ground], 500, seed=0), (5,))[0])
    assert rows[0].tobytes() != rows[1].tobytes()


def test_learns_classes_that_pixels_give_away_and_predicts_only_what_is_wanted(tiny_data: Callable[..., Any]) -> None:
    data = tiny_data()
    scene = data.store.scenes[0]
    model = fit(grounds_of(data), 1500, (3,), seed=0)
    wanted = data.split.mask(data.split.fold_map("one"), "val") & (scene.valid == 1)
    predicted = model.predict(scene, whole(scene), wanted)
    part = Window(40, 0, 9, 128)
    assert np.array_equal(model.predict(scene, part, wanted[40:49]), predicted[40:49])
    assert predicted.dtype == np.uint8
    assert (predicted[~wanted] == IGNORE_INDEX).all()
    known = wanted & (scene.labels != IGNORE_INDEX)
    assert (predicted[known] == scene.labels[known]).mean() > 0.95


def test_equal_seeds_give_equal_maps(tiny_data: Callable[..., Any]) -> None:
    data = tiny_data()
    scene = data.store.scenes[0]
    maps = [fit(grounds_of(data), 300, (), seed=5).predict(scene, whole(scene), scene.valid == 1) for _ in range(2)]
    assert np.array_equal(*maps)


class Relabelled(TrainGround):
    """Keeps the labels for which `keep` holds."""

    keep: Callable[[np.ndarray], np.ndarray]

    def labels(self, window: Window, codes_HW: np.ndarray | None = None) -> np.ndarray:
        labels = super().labels(whole(self.scene))
        return np.where(self.keep(labels), labels, IGNORE_INDEX).astype(np.uint8)[window.slices]


def relabelled(ground: TrainGround, keep: Callable[[np.ndarray], np.ndarray]) -> TrainGround:
    class Chosen(Relabelled):
        pass

    Chosen.keep = staticmethod(keep)  # type: ignore[assignment]
    values = {f.name: getattr(ground, f.name) for f in dataclasses.fields(ground)}
    labels = Chosen(**values).labels(whole(ground.scene))
    return Chosen(**{**values, "cumulative_rows": np.cumsum((labels != IGNORE_INDEX).sum(axis=1))})


def test_a_class_of_one_pixel_is_left_out_with_a_warning(tiny_data: Callable[..., Any]) -> None:
    def keep(labels: np.ndarray) -> np.ndarray:
        kept = labels != 2
        kept[tuple(np.argwhere(labels == 2)[0])] = True
        return kept

    ground = relabelled(grounds_of(tiny_data())[0], keep)
    with pytest.warns(UserWarning, match=r"leaves out class ids \[2\]"):
        model = fit([ground], 10**6, (), seed=0)
    assert model.classifier.classes_.tolist() == [0, 1]


def test_one_class_cannot_be_learnt(tiny_data: Callable[..., Any]) -> None:
    ground = relabelled(grounds_of(tiny_data())[0], lambda labels: labels == 1)
    with pytest.raises(LabelError, match="train pixels of two classes: got 1"):
        fit([ground], 100, (), seed=0)
