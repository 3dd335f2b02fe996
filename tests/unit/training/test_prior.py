"""Logit biases undo what samplers and weights put in, by hand and by an experiment; several rebalancings are named."""

import math
import warnings

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.params.train import TrainParams
from pipeline.training.prior import logit_bias, pixel_importance, rebalancings, warn_of_several

CLASSES = ("land", "lake")
ONES = np.ones(2)


def params(**changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TrainParams.model_validate(changes)


def test_the_bias_is_the_logarithm_of_true_over_drawn_shares_by_hand():
    """90 : 10 drawn as 50 : 50, the lake weighing three times as much: met as 1 : 3."""
    assert logit_bias(np.array([90, 10]), np.array([0.5, 0.5]), ONES, CLASSES) == pytest.approx(
        (math.log(0.9 / 0.5), math.log(0.1 / 0.5)))
    assert logit_bias(np.array([90, 10]), np.array([0.5, 0.5]), np.array([2.0, 6.0]), CLASSES) == pytest.approx(
        (math.log(0.9 / 0.25), math.log(0.1 / 0.75)))


def test_nothing_to_correct_is_no_bias():
    assert logit_bias(np.array([90, 10]), np.array([0.9, 0.1]), ONES, CLASSES) == ()


def test_absent_classes_get_the_least_bias_and_undrawn_ones_are_refused():
    bias = logit_bias(np.array([90, 0, 10]), np.array([0.5, 0.0, 0.5]), np.ones(3), ("land", "snow", "lake"))
    assert bias == pytest.approx((math.log(1.8), math.log(0.2), math.log(0.2)))
    for drawn, importance in (([1.0, 0.0], ONES), ([0.5, 0.5], np.array([1.0, 0.0]))):
        with pytest.raises(ModelError, match=r"needs every class to be drawn .* above 0: \['lake'\] are not"):
            logit_bias(np.array([90, 10]), np.array(drawn), importance, CLASSES)


def test_a_classifier_learnt_on_rebalanced_samples_gives_true_posteriors_with_the_bias():
    """Logistic regression on x ~ N(-1, 1) or N(1, 1), drawn 3 : 2 with the lake weighing 4, applied to 19 : 1."""
    rng = np.random.default_rng(0)
    labels = (rng.random(20_000) < 0.4).astype(np.int64)
    x = torch.from_numpy(rng.normal(2.0 * labels - 1, 1.0)).float()[:, None]
    weights = np.array([1.0, 4.0])
    layer = torch.nn.Linear(1, 2)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=30)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float32))
    target = torch.from_numpy(labels)

    def closure():
        optimizer.zero_grad()
        value = loss(layer(x), target)
        value.backward()
        return value

    optimizer.step(closure)
    bias = torch.tensor(logit_bias(np.array([0.95, 0.05]), np.array([0.6, 0.4]), weights, CLASSES))
    where = torch.linspace(-3, 3, 13)[:, None]
    with torch.no_grad():
        corrected, raw = (torch.softmax(layer(where) + b, dim=1)[:, 1] for b in (bias, 0.0))
    # Bayes: the odds are 0.05 / 0.95 exp(2 x).
    odds = 0.05 / 0.95 * torch.exp(2 * where[:, 0])
    assert torch.allclose(corrected, odds / (1 + odds), atol=0.02)
    assert (raw - odds / (1 + odds)).abs().max() > 0.3


@pytest.mark.parametrize(("loss", "expected"), [
    ({"weights": {"cross_entropy": 1}}, [0.5, 2.0]),
    ({"weights": {"cross_entropy": 0, "dice": 1}}, [1.0, 1.0]),
    ({"weights": {"cross_entropy": 0, "focal": 2}, "focal": {"alpha": {"lake": 3}}}, [0.5, 6.0]),
    ({"weights": {"cross_entropy": 1, "focal": 1}, "focal": {"alpha": {"lake": 3}}}, [0.5, 4.0]),
])
def test_pixels_weigh_as_in_the_sums_over_pixels(loss, expected):
    assert pixel_importance(np.array([0.5, 2.0]), params(loss=loss), CLASSES).tolist() == expected


BALANCED = {"sampling": {"name": "balanced"}}
PASTED = {"augmentation": {"copy_paste": 0.3, "copy_paste_classes": ["lake"]}}
FOCAL = {"weights": {"focal": 1}, "focal": {"alpha": {"lake": 3}}}


@pytest.mark.parametrize(("patches", "loss", "named"), [
    ({}, {}, ["train.loss.class_weights"]),
    ({}, {"class_weights": "none"}, []),
    (BALANCED, {"class_weights": "none"}, ["train.patches.sampling.name"]),
    (BALANCED, {"weights": {"cross_entropy": 0}}, ["train.patches.sampling.name"]),
    (BALANCED, {}, ["train.patches.sampling.name", "train.loss.class_weights"]),
    ({}, FOCAL, ["train.loss.class_weights", "train.loss.focal.alpha"]),
    ({}, {**FOCAL, "class_weights": "none", "focal": {"alpha": {"lake": 1}}}, []),
    ({}, {**FOCAL, "class_weights": "none", "weights": {"focal": 0}}, []),
    (PASTED, {}, ["train.loss.class_weights", "train.patches.augmentation.copy_paste"]),
    (PASTED, {"class_weights": "none"}, ["train.patches.augmentation.copy_paste"]),
    (BALANCED, FOCAL, ["train.patches.sampling.name", "train.loss.class_weights", "train.loss.focal.alpha"]),
])
def test_more_than_one_rebalancing_warns_and_says_which(patches, loss, named):
    chosen = params(patches=patches, loss=loss)
    assert [entry.partition(":")[0] for entry in rebalancings(chosen)] == named
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_several(chosen)
    if len(named) < 2:
        assert not caught
        return
    (message,) = (str(w.message) for w in caught)
    assert message.startswith(f"classes are rebalanced {len(named)} times over")
    assert all(f"{name}: " in message for name in named)
    assert ("train.patches.augmentation.copy_paste: 0)" in message) == (named[-1].endswith("copy_paste"))
    assert ("train.patches.sampling.name: random" in message) == ("train.patches.sampling.name" in named)
