"""Settings of sampling and calibration: defaults as before, every refusal, and every setting without effect."""

import warnings

import pytest
from pydantic import ValidationError

from pipeline.params.patches import PatchParams, SamplingParams
from pipeline.params.task import Task
from pipeline.params.train import TrainParams

TASK = Task(bands=["red"], classes=[{"name": n, "color": "#000000"} for n in ("rock", "ice", "lake")])


def test_defaults_draw_uniformly_and_calibrate_nothing():
    params = TrainParams()
    assert (params.patches.sampling.name, params.patches.sampling.jitter) == ("random", 1.0)
    assert not params.patches.sampling.has_interface
    assert not params.calibration.prior
    assert not params.calibration.temperature


@pytest.mark.parametrize(("settings", "message"), [
    ({"composition": {"ice": 1.2}}, r"composition must have shares from 0 to 1: got \{'ice': 1\.2\}"),
    ({"composition": {"ice": -0.1}}, "shares from 0 to 1"),
    ({"composition": {"ice": 0.7, "lake": 0.6}}, r"must sum to at most 1: got 1\.3"),
    ({"interface": ["ice"]}, r"interface must name two classes or be \[\]: got \['ice'\]"),
    ({"interface": ["ice", "ice"]}, "must name two classes"),
    ({"interface": ["ice", "lake", "rock"]}, "must name two classes"),
    ({"interface_share": 0.5}, r"interface must name two classes if interface_share is above 0: got \[\]"),
    ({"interface_share": 1.5}, "less than or equal to 1"),
    ({"jitter": 2}, "less than or equal to 1"),
    ({"name": "stratified"}, "'random', 'grid', 'balanced' or 'image'"),
])
def test_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SamplingParams.model_validate({"name": "balanced", **settings})


@pytest.mark.parametrize(("settings", "message"), [
    ({"composition": {"ice": 0.5}}, "composition has no effect: name is random"),
    ({"composition_of": "pixels"}, "composition_of has no effect: name is random"),
    ({"name": "grid", "jitter": 0.5}, "jitter has no effect: name is grid"),
    ({"name": "image", "jitter": 0.5}, "jitter has no effect: name is image"),
    ({"name": "grid", "interface": ["ice", "lake"], "interface_share": 0.5}, "interface_share has no effect: name is"),
    ({"name": "balanced", "interface": ["ice", "lake"]}, "interface has no effect: interface_share is 0"),
])
def test_without_effect(settings, message):
    with pytest.warns(UserWarning, match=f"train.patches.sampling.{message}"):
        SamplingParams.model_validate(settings)


@pytest.mark.parametrize("settings", [
    {"name": "balanced", "composition": {"ice": 0.3, "lake": 0.7}, "composition_of": "pixels", "jitter": 0.5},
    {"name": "balanced", "interface": ["ice", "lake"], "interface_share": 1.0},
    {"interface": ["ice", "lake"], "interface_share": 0.5, "jitter": 0.5},
])
def test_settings_with_an_effect_are_silent(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params = SamplingParams.model_validate(settings)
    assert params.has_interface == ("interface" in settings)


@pytest.mark.parametrize(("settings", "message"), [
    ({"composition": {"snow": 0.5}}, r"sampling\.composition must name a class of .*: got 'snow'"),
    ({"interface": ["ice", "snow"], "interface_share": 0.1}, r"sampling\.interface must name a class .*: got 'snow'"),
    ({"composition": {"ice": 0.3, "rock": 0.3, "lake": 0.3}}, r"must sum to 1 if it names every class: got 0\.9"),
])
def test_names_and_sums_are_checked_against_the_task(settings, message):
    params = TrainParams(patches=PatchParams(sampling=SamplingParams.model_validate({"name": "balanced", **settings})))
    with pytest.raises(ValueError, match=message):
        params.check(TASK)


def test_a_composition_of_tenths_sums_to_one():
    """0.1 + 0.35 + 0.4 + 0.15 is not 1 in binary."""
    composition = {"rock": 0.45, "ice": 0.4, "lake": 0.15}
    params = SamplingParams(name="balanced", composition=composition)
    params.check(TASK)
