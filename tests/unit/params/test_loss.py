"""Section train.loss: every refusal, and every setting without effect."""

import pytest
from pydantic import ValidationError

from pipeline.params.loss import LossParams
from pipeline.params.task import Task
from pipeline.params.train import TrainParams

TASK = Task(bands=["red"], classes=[{"name": n, "color": "#000000"} for n in ("rock", "ice", "lake")])
FOCAL = {"cross_entropy": 0, "dice": 0, "focal": 1}


@pytest.mark.parametrize(("settings", "message"), [
    ({"weights": {"cross_entropy": 0, "dice": 0}}, "must have one term above 0: got only zeros"),
    ({"weights": {"mcc": -1}}, "greater than or equal to 0"),
    ({"weights": {"cross_entropy": 0, "dice": 0, "mcc": 1}, "ramp": {"terms": ["mcc"], "start_epoch": 1}},
     r"one term above 0 in the first epoch: got \['mcc'\], all of them in ramp.terms"),
    ({"ramp": {"terms": ["iou"], "start_epoch": 1}}, r"ramp.terms must be terms of train.loss.weights .*: got 'iou'"),
    ({"class_weights": "given"}, "given_weights must name a class for class_weights: given: got none"),
    ({"class_weights": "given", "given_weights": {"ice": -1}}, "greater than or equal to 0"),
    ({"weights": {"tversky": 1}, "tversky": {"alpha": 0, "beta": 0}}, "alpha or beta must be above 0"),
    ({"weights": {"boundary": 1}, "boundary": {"interface": ["ice"]}}, r"class names or \[\]: got \['ice'\]"),
    ({"weights": {"boundary": 1}, "boundary": {"interface": ["ice", "ice"]}}, "two different class names"),
    ({"weights": {"boundary": 1}, "boundary": {"interface": ["ice", "rock", "lake"]}}, "two different class names"),
    ({"label_smoothing": 1.0}, "less than 1"),
    ({"class_weights": "effective_number", "effective_beta": 1.0}, "less than 1"),
])
def test_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        LossParams(**settings)


@pytest.mark.parametrize(("settings", "message"), [
    ({"focal": {"gamma": 1}}, r"train.loss.focal has no effect: train.loss.weights.focal is 0"),
    ({"focal": {"alpha": {"ice": 2}}}, "focal has no effect"),
    ({"tversky": {"beta": 0.6}}, "tversky has no effect"),
    ({"boundary": {"sigma_px": 2}}, "boundary has no effect"),
    ({"weights": FOCAL, "label_smoothing": 0.1}, "label_smoothing has no effect"),
    ({"weights": {"cross_entropy": 0}, "class_weights": "inverse"}, "class_weights: inverse has no effect"),
    ({"given_weights": {"ice": 2}}, "given_weights has no effect: train.loss.class_weights is inverse_sqrt, not given"),
    ({"effective_beta": 0.5}, "effective_beta has no effect"),
    ({"ramp": {"terms": ["mcc"], "start_epoch": 3}}, "ramp.terms has no effect: train.loss.weights.mcc is 0"),
    ({"ramp": {"terms": ["dice"]}}, "ramp.terms has no effect: train.loss.ramp.start_epoch is 0 and ramp.epochs 1"),
    ({"ramp": {"start_epoch": 3}}, "ramp.start_epoch and ramp.epochs have no effect: train.loss.ramp.terms is empty"),
    ({"weights": {"boundary": 1}, "boundary": {"interface_weight": 2}}, "boundary.interface_weight has no effect"),
])
def test_without_effect(settings, message):
    with pytest.warns(UserWarning, match=message):
        LossParams(**settings)


def test_defaults_and_the_whole_recipe_are_silent():
    LossParams().check(TASK, boundary_head=False, epochs=1)
    LossParams(weights={**FOCAL, "focal": 0.25, "dice": 0.25, "mcc": 0.35, "boundary": 0.15}, class_weights="none",
               ramp={"terms": ["mcc", "boundary"], "start_epoch": 5, "epochs": 5}, focal={"alpha": {"lake": 3}},
               boundary={"interface": ["ice", "lake"], "interface_weight": 3, "width_px": 3},
               ).check(TASK, boundary_head=True, epochs=10)


@pytest.mark.parametrize("settings", [
    {"class_weights": "given", "given_weights": {"sea": 2}}, {"weights": FOCAL, "focal": {"alpha": {"sea": 2}}},
    {"weights": {"boundary": 1}, "boundary": {"interface": ["ice", "sea"]}},
])
def test_classes_must_be_of_the_task(settings):
    with pytest.raises(ValueError, match=r"must name a class of task.classes \['rock', 'ice', 'lake'\]: got 'sea'"):
        LossParams(**settings).check(TASK, boundary_head=False, epochs=9)


def test_section_train_checks_its_loss():
    train = TrainParams(loss={"class_weights": "given", "given_weights": {"sea": 2}})
    with pytest.raises(ValueError, match=r"train\.loss\.given_weights must name a class"):
        train.check(TASK)


@pytest.mark.parametrize(("settings", "head", "message"), [
    ({}, True, "train.network.boundary_head has no effect: train.loss.weights.boundary"),
    ({"weights": {"boundary": 1}, "boundary": {"head_weight": 0}}, True, "boundary_head has no effect"),
    ({"weights": {"boundary": 1}, "boundary": {"width_px": 3}}, False,
     "width_px and head_weight have no effect: train.network.boundary_head is false"),
    ({"weights": {"mcc": 1}, "ramp": {"terms": ["mcc"], "start_epoch": 9}}, False,
     "weights.mcc has no effect: train.loss.ramp.start_epoch=9 is not before train.epochs=9"),
])
def test_without_effect_beside_the_network_and_the_epochs(settings, head, message):
    loss = LossParams(**settings)
    with pytest.warns(UserWarning, match=message):
        loss.check(TASK, head, epochs=9)


def test_ramp_rises_in_equal_steps_to_the_whole():
    loss = LossParams(weights={"mcc": 0.4}, ramp={"terms": ["mcc"], "start_epoch": 2, "epochs": 4})
    assert [loss.weight("mcc", epoch) for epoch in range(8)] == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert [loss.weight("dice", epoch) for epoch in (0, 9)] == [0.5, 0.5]
