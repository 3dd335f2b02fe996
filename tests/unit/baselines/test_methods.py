"""Majority and index rules by hand, and which baselines the settings ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.baselines.baseline import IndexRules, Majority
from pipeline.baselines.boosting import Boosting
from pipeline.baselines.methods import build
from pipeline.params.evaluate import BaselineParams, ThresholdRule
from pipeline.params.task import Task
from pipeline.patches.ground import class_counts, open_ground
from pipeline.types import Window

TASK = Task.model_validate({
    "bands": ["blue", "green", "red", "nir"], "background": "background",
    "classes": [{"name": n, "color": "#000000"} for n in ("background", "settlement", "water")]})


@dataclass
class Pixels:
    """One row of pixels of digital numbers, in place of a scene."""

    image: np.ndarray
    bands: tuple[str, ...] = ("green", "red", "nir")

    @property
    def grid(self) -> SimpleNamespace:
        return SimpleNamespace(shape=self.image.shape[:2])


def test_first_rule_that_holds_wins_and_the_rest_is_background() -> None:
    # NDWI = (green - nir) / (green + nir), NDVI = (nir - red) / (nir + red).
    pixels = Pixels(np.array([[[800, 100, 200], [100, 100, 900], [500, 500, 500], [600, 100, 400], [0, 0, 0]]]))
    rules = (ThresholdRule(target="water", index="NDWI", above=0.05),
             ThresholdRule(target="plants", index="NDVI", above=0.45))
    method = IndexRules(rules, targets=[2, 3], background=0, scale=1000)
    wanted = np.array([[True, True, True, True, True]])
    # The fourth pixel satisfies both (0.2 and 0.6); the last has no index at all.
    assert method.predict(pixels, Window(0, 0, 1, 5), wanted).tolist() == [[2, 3, 0, 2, 0]]  # type: ignore[arg-type]
    wanted[0, 1] = False
    assert method.predict(pixels, Window(0, 0, 1, 5), wanted)[0, 1] == 255  # type: ignore[arg-type]


def test_rules_see_reflectance_not_digital_numbers() -> None:
    # EVI has constants of its own, so that the scale matters.
    pixels = Pixels(np.array([[[300, 600, 3000]]]), ("blue", "red", "nir"))
    rule = ThresholdRule(target="plants", index="EVI", above=0.0)
    evi = 2.5 * (0.3 - 0.06) / (0.3 + 6 * 0.06 - 7.5 * 0.03 + 1)
    for above, expected in ((evi - 0.01, 1), (evi + 0.01, 0)):
        method = IndexRules((rule.model_copy(update={"above": above}),), [1], 0, 10_000)
        assert method.predict(pixels, Window(0, 0, 1, 1), np.array([[True]])).tolist() == [[expected]]  # type: ignore[arg-type]


def test_majority_calls_everything_by_one_class(tiny_data: Callable[..., Any]) -> None:
    scene = tiny_data().store.scenes[0]
    wanted = scene.valid == 1
    predicted = Majority(2).predict(scene, Window(0, 0, 96, 128), wanted)
    assert (predicted[wanted] == 2).all()
    assert (predicted[~wanted] == 255).all()


def test_settings_choose_the_baselines(tiny_data: Callable[..., Any]) -> None:
    data = tiny_data()
    quick: dict[str, Any] = {"boosting_pixels": 200, "focal_px": (3,)}
    everything = build(BaselineParams(index_rules=(ThresholdRule(target="water", index="NDWI", above=0.1),), **quick),
                       TASK, data.store, data.split, seed=0)
    assert list(everything) == ["majority", "index_rules", "boosting", "boosting_focal"]
    focal, plain = everything["boosting_focal"], everything["boosting"]
    assert isinstance(focal, Boosting)
    assert isinstance(plain, Boosting)
    assert (plain.focal_px, focal.focal_px) == ((), (3,))
    assert focal.classifier.n_features_in_ == 4 * 3
    none = build(BaselineParams(majority=False, boosting=False, boosting_focal=False), TASK, data.store, data.split, 0)
    assert none == {}


def test_majority_is_the_class_with_most_train_pixels(tiny_data: Callable[..., Any]) -> None:
    data = tiny_data()
    counts = class_counts(open_ground(data.store, data.split), 3)
    settings = BaselineParams(boosting=False, boosting_focal=False)
    method = build(settings, TASK, data.store, data.split, 0)["majority"]
    assert isinstance(method, Majority)
    assert method.class_id == int(np.argmax(counts))


def test_garbage_in_held_out_pixels_changes_no_baseline(tiny_data: Callable[..., Any]) -> None:
    settings = BaselineParams(boosting_pixels=300, focal_px=(5,))
    maps = []
    for name, garbage in (("clean", None), ("noise", 1)):
        data = tiny_data(name, held_out_garbage=garbage)
        methods = build(settings, TASK, data.store, data.split, seed=0)
        scene = tiny_data("shown").store.scenes[0]
        maps.append([m.predict(scene, Window(0, 0, 96, 128), scene.valid == 1) for m in methods.values()])
    assert all(np.array_equal(a, b) for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize("size", [2, 4, 1])
def test_focal_windows_must_be_odd(size: int) -> None:
    with pytest.raises(ValueError, match="must be odd"):
        BaselineParams(focal_px=(size,))
